"""The Valkey driver. Import `herder.drivers.valkey.driver` where a member is Valkey: it loads the client library (7 MB)."""
