"""Who may say what on NATS: operator, accounts and users as signed JWTs (NATS' decentralised auth).

The server knows public keys only. An agent's user may publish its own server's pulse and answer what it was asked,
nothing else, so that a taken-over server cannot speak for another one.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from typing import Any, cast

import msgspec
import nkeys

from herder.model.errors import UNREADABLE, InvalidInput

RESPONSE_TTL_NS = 3_600 * 1_000_000_000
"""An agent may answer a request for an hour: longer than any controller waits for a reply."""

AGENT_TAG = "agent."
"""A user JWT's name is this and the server's id: signed, so that what a disconnect event says can be believed."""

_TOKEN_PREFIX = "herder-join-1."  # noqa: S105  it says what follows
_SERVER = re.compile(r"[A-Za-z0-9_-]{1,64}")


class _Keys(msgspec.Struct, frozen=True):
    """The control plane's seeds. issued_at makes the JWTs in the server's config the same at every start."""

    operator: str
    account: str
    system: str
    issued_at: int


class User(msgspec.Struct, frozen=True):
    """What a connection shows: a signed JWT and the seed that answers the server's nonce ('' for a bearer)."""

    jwt: str
    seed: str

    def sign(self, nonce: str) -> bytes:
        """The answer to a server's challenge, base64."""
        if not self.seed:
            return b""
        return base64.b64encode(_pair(self.seed).sign(nonce.encode()))


class JoinToken(msgspec.Struct, frozen=True):
    """What a one-use join token carries. inbox: where its holder may listen, and nowhere else."""

    nats_url: str
    jwt: str
    inbox: str
    secret: str


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class JoinRequest(msgspec.Struct, frozen=True):
    """An agent's first words: the secret proves it, the key is the one it will use for life."""

    server: str
    incarnation: int
    secret: str
    public_key: str


class JoinReply(msgspec.Struct, frozen=True):
    """The agent's user JWT, or why there is none."""

    jwt: str = ""
    error: str = ""


def new_keys(issued_at: int) -> str:
    """Fresh operator, account and system seeds as one secret string (issued_at: seconds since 1970)."""
    keys = _Keys(
        _new_seed(nkeys.PREFIX_BYTE_OPERATOR),
        _new_seed(nkeys.PREFIX_BYTE_ACCOUNT),
        _new_seed(nkeys.PREFIX_BYTE_ACCOUNT),
        issued_at,
    )
    return msgspec.json.encode(keys).decode()


def new_user_seed() -> str:
    """A fresh user seed; it never leaves the process or directory that made it."""
    return _new_seed(nkeys.PREFIX_BYTE_USER)


def public_key(seed: str) -> str:
    """The public key of a seed."""
    return cast(bytes, _pair(seed).public_key).decode()


def secret_hash(secret: str) -> str:
    """What the store keeps of a join secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def valid_server(server: str) -> bool:
    """Can it be one token of a subject? A '.', '*' or '>' in it would widen its own permissions."""
    return _SERVER.fullmatch(server) is not None


def valid_user_key(key: str) -> bool:
    """Is it a well-formed public user key?"""
    try:
        raw = base64.b32decode(key)
    except ValueError:
        return False
    if len(raw) != 35 or raw[0] != nkeys.PREFIX_BYTE_USER:
        return False
    return bool(nkeys.crc16(bytearray(raw[:-2])) == int.from_bytes(raw[-2:], "little"))


def user_name(jwt: str) -> str:
    """The name in a JWT that the NATS server has verified already; '' when there is none."""
    try:
        body = jwt.split(".")[1]
        return msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), type=_Named).name
    except (IndexError, ValueError, *UNREADABLE):
        return ""


def read_join_token(text: str) -> JoinToken:
    """Open a join token. Raises InvalidInput."""
    if not text.startswith(_TOKEN_PREFIX):
        raise InvalidInput("this is not a join token", "make a new one with the control plane that wants the server")
    try:
        body = base64.urlsafe_b64decode(text[len(_TOKEN_PREFIX) :])
        return msgspec.json.decode(body, type=JoinToken)
    except (ValueError, *UNREADABLE):
        raise InvalidInput("the join token is damaged", "copy all of it, or make a new one") from None


class Authority:
    """Signs for one control plane. `secret` is what `new_keys` gave and the store kept."""

    def __init__(self, secret: str) -> None:
        keys = msgspec.json.decode(secret, type=_Keys)
        self._keys = keys
        self.operator = public_key(keys.operator)
        self.account = public_key(keys.account)
        self.system = public_key(keys.system)

    def operator_jwt(self) -> str:
        """Self-signed; the root of trust in the server's config."""
        claims = {"type": "operator", "version": 2, "system_account": self.system}
        return self._signed(self._keys.operator, self.operator, "herder", claims)

    def account_jwt(self) -> str:
        """The account in which agents and controllers meet."""
        return self._account(self.account, "fleet")

    def system_jwt(self) -> str:
        """The account in which the server tells who came and went."""
        return self._account(self.system, "system")

    def controller_user(self) -> User:
        """Everything in the account; made anew by every controller process."""
        seed = new_user_seed()
        return User(self._user(self._keys.account, public_key(seed), "controller", {}), seed)

    def system_user(self) -> User:
        """May listen to the account's connection events and nothing more."""
        seed = new_user_seed()
        permissions = {"pub": {"deny": [">"]}, "sub": {"allow": [f"$SYS.ACCOUNT.{self.account}.DISCONNECT"]}}
        return User(self._user(self._keys.system, public_key(seed), "watcher", permissions), seed)

    def agent_jwt(self, server: str, key: str) -> str:
        """The user of one server's agent: speaks for that server only. Raises InvalidInput."""
        if not valid_server(server) or not valid_user_key(key):
            raise InvalidInput("an agent needs a server id of [A-Za-z0-9_-] and a public user key")
        permissions = {
            "pub": {"allow": [f"herder.pulse.*.{server}"]},
            "sub": {"allow": [f"herder.agent.{server}.>", f"_INBOX.{server}.>"]},
            "resp": {"max": 1, "ttl": RESPONSE_TTL_NS},
            "subs": 16,
        }
        return self._user(self._keys.account, key, AGENT_TAG + server, permissions)

    def relay_jwt(self, relay: int, key: str) -> str:
        """The user of a relay (by the machine id of its server): sends fleet frames in its own name, hears nothing.
        Raises InvalidInput.
        """
        if not 0 < relay < 1 << 32 or not valid_user_key(key):
            raise InvalidInput("a relay needs a machine id and a public user key")
        permissions = {"pub": {"allow": [f"herder.fleet.{relay}"]}, "sub": {"deny": [">"]}, "subs": 1}
        return self._user(self._keys.account, key, f"relay.{relay}", permissions)

    def join_token(self, nats_url: str, secret: str, expires_at: int) -> str:
        """A token that lets its holder ask to join, and nothing else. secret: fresh, url-safe; keep `secret_hash` of it.

        expires_at: seconds since 1970, when its connection ends whether used or not.
        """
        inbox = "_INBOX.join" + hashlib.sha256(b"inbox" + secret.encode()).hexdigest()[:32]
        permissions = {
            "pub": {"allow": ["herder.join"]},
            "sub": {"allow": [f"{inbox}.>"]},
            "subs": 2,
            "bearer_token": True,
        }
        key = public_key(new_user_seed())
        jwt = self._user(self._keys.account, key, "join", permissions, expires_at)
        body = msgspec.json.encode(JoinToken(nats_url, jwt, inbox, secret))
        return _TOKEN_PREFIX + base64.urlsafe_b64encode(body).decode()

    def _account(self, key: str, name: str) -> str:
        unlimited = ("subs", "data", "payload", "imports", "exports", "conn", "leaf")
        claims = {"type": "account", "version": 2, "limits": dict.fromkeys(unlimited, -1) | {"wildcards": True}}
        return self._signed(self._keys.operator, key, name, claims)

    def _user(self, account_seed: str, key: str, name: str, permissions: dict[str, Any], expires_at: int = 0) -> str:
        claims = {"type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1}
        return self._signed(account_seed, key, name, claims | permissions, expires_at)

    def _signed(self, seed: str, subject: str, name: str, claims: dict[str, Any], expires_at: int = 0) -> str:
        body: dict[str, Any] = {
            "iat": self._keys.issued_at,
            "iss": public_key(seed),
            "name": name,
            "sub": subject,
            "nats": claims,
        }
        if expires_at:
            body["exp"] = expires_at
        body["jti"] = base64.b32encode(hashlib.sha256(msgspec.json.encode(body)).digest()).decode().rstrip("=")
        header = _b64(msgspec.json.encode({"typ": "JWT", "alg": "ed25519-nkey"}))
        text = f"{header}.{_b64(msgspec.json.encode(body))}"
        return f"{text}.{_b64(_pair(seed).sign(text.encode()))}"


def _new_seed(prefix: int) -> str:
    return cast(bytes, nkeys.encode_seed(os.urandom(32), prefix)).decode()


def _pair(seed: str) -> Any:
    return nkeys.from_seed(seed.encode())


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
