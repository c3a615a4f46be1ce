"""Keys, users and join tokens as strings."""

from __future__ import annotations

import pytest

from herder.model.errors import InvalidInput
from herder.wire.credentials import (
    Authority,
    new_keys,
    new_user_seed,
    public_key,
    read_join_token,
    secret_hash,
    user_name,
    valid_user_key,
)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority(new_keys(1_700_000_000))


def test_the_same_keys_make_the_same_server_config() -> None:
    keys = new_keys(1_700_000_000)
    one, two = Authority(keys), Authority(keys)
    assert (one.operator_jwt(), one.account_jwt(), one.system_jwt()) == (
        two.operator_jwt(),
        two.account_jwt(),
        two.system_jwt(),
    )


def test_no_seed_stands_in_what_is_given_away(authority: Authority) -> None:
    seed = new_user_seed()
    assert seed.startswith("SU")
    assert seed not in authority.agent_jwt("s1", public_key(seed))


@pytest.mark.parametrize("server", ["", "*", ">", "a.b", "a b", "s1\r\n"])
def test_a_server_id_that_would_widen_its_permissions_is_refused(authority: Authority, server: str) -> None:
    with pytest.raises(InvalidInput):
        authority.agent_jwt(server, public_key(new_user_seed()))


def test_a_key_is_checked() -> None:
    key = public_key(new_user_seed())
    assert valid_user_key(key)
    assert not valid_user_key(key[:-1] + ("A" if key[-1] != "A" else "B"))
    assert not valid_user_key("A" + key[1:])
    assert not valid_user_key("")


def test_a_user_carries_its_servers_name(authority: Authority) -> None:
    assert user_name(authority.agent_jwt("s1", public_key(new_user_seed()))) == "agent.s1"
    assert user_name("not.a.jwt") == ""


def test_a_join_token_opens_to_what_was_put_in(authority: Authority) -> None:
    opened = read_join_token(authority.join_token("nats://127.0.0.1:4222", "hush", 2_000_000_000))
    assert (opened.nats_url, opened.secret) == ("nats://127.0.0.1:4222", "hush")
    assert secret_hash("hush") not in opened.inbox


@pytest.mark.parametrize("text", ["", "herder-join-1.", "herder-join-1.AAAA", "herder-join-9.AAAA"])
def test_a_damaged_join_token_is_invalid_input(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_join_token(text)
