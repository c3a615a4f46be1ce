"""What a person types. One file per noun; each command speaks HTTP to `herder up` over its unix socket."""
