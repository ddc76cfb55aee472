"""Proxies, as the environment names them."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from signalbox.http.upstream import UpstreamClient
from signalbox.http.upstream_proxies import BadProxySettings, ProxySettings
from signalbox.http.upstream_request import Origin, Proxy
from signalbox.types import Secret

HTTP = Origin(tls=False, host="api.example.com", port=80)
HTTPS = Origin(tls=True, host="api.example.com", port=443)
PROXY = Proxy("proxy.test", 3128)


def read(**environment: str) -> ProxySettings:
    return ProxySettings.from_environment(environment)


def basic(credentials: bytes) -> Secret:
    return Secret("Basic " + base64.b64encode(credentials).decode())


# The environment


@pytest.mark.parametrize(
    ("environment", "http", "https"),
    [
        ({}, None, None),
        ({"HTTPS_PROXY": "http://proxy.test:3128"}, None, PROXY),
        ({"https_proxy": "http://proxy.test:3128"}, None, PROXY),
        ({"HTTP_PROXY": "http://proxy.test:3128"}, PROXY, None),
        ({"ALL_PROXY": "http://proxy.test:3128"}, PROXY, PROXY),
        ({"all_proxy": "http://proxy.test:3128", "http_proxy": "http://b:1"}, Proxy("b", 1), PROXY),
        ({"http_proxy": "http://proxy.test:3128", "HTTP_PROXY": "http://b:1"}, PROXY, None),
        ({"http_proxy": "", "HTTP_PROXY": "http://b:1"}, None, None),
        ({"HTTP_PROXY": "http://proxy.test:3128", "REQUEST_METHOD": "GET"}, None, None),
        ({"http_proxy": "http://proxy.test:3128", "REQUEST_METHOD": "GET"}, PROXY, None),
    ],
)
def test_each_scheme_has_its_variable(
    environment: Mapping[str, str], http: Proxy | None, https: Proxy | None
) -> None:
    proxies = ProxySettings.from_environment(environment)
    assert (proxies.proxy_for(HTTP), proxies.proxy_for(HTTPS)) == (http, https)


@pytest.mark.parametrize(
    ("value", "proxy"),
    [
        ("proxy.test:3128", PROXY),
        (" HTTP://Proxy.test:3128/ ", PROXY),
        ("http://proxy.test", Proxy("proxy.test", 80)),
        ("http://[::1]:3128", Proxy("::1", 3128)),
        ("http://user@proxy.test:3128", Proxy("proxy.test", 3128, basic(b"user:"))),
        (
            "http://us%65r:p%40ss%3aw%C3%B6rd@proxy.test:3128",
            Proxy("proxy.test", 3128, basic("user:p@ss:wörd".encode())),
        ),
        ("user:p@ss@proxy.test:3128", Proxy("proxy.test", 3128, basic(b"user:p@ss"))),
    ],
)
def test_a_proxy_is_written_as_a_url(value: str, proxy: Proxy) -> None:
    assert read(https_proxy=value).proxy_for(HTTPS) == proxy


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("socks5://hidden:hidden@proxy.test:1080", "socks5:// is not supported"),
        ("https://hidden:hidden@proxy.test:3128", "https:// is not supported"),
        ("hidden://proxy.test", "another scheme is not supported"),
        ("http://hidden:hidden@", "names no host"),
        ("http://proxy.test:hidden", "not a valid URL"),
        ("http://proxy.test:99999", "not a valid URL"),
        ("http://hidden:[proxy.test", "not a valid URL"),
        ("http://hid den", "names no host"),
    ],
)
@pytest.mark.parametrize("name", ["ALL_PROXY", "https_proxy", "HTTP_PROXY"])
def test_what_is_no_proxy_is_refused_by_name_and_not_quoted(
    name: str, value: str, words: str
) -> None:
    with pytest.raises(BadProxySettings) as refusal:
        ProxySettings.from_environment({name: value})
    assert str(refusal.value).startswith(f"{name}: ")
    assert words in str(refusal.value)
    assert "hid" not in str(refusal.value).replace("another", "")


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ("", "api.example.com", False),
        ("*", "api.example.com", True),
        ("example.com", "api.example.com", True),
        ("example.com", "example.com", True),
        ("example.com", "badexample.com", False),
        ("example.com", "example.com.evil.test", False),
        (".example.com", "api.example.com", True),
        (".example.com", "example.com", True),
        ("*.example.com", "api.example.com", True),
        ("API.Example.com.", "api.example.com", True),
        ("ple.com", "api.example.com", False),
        ("other.test, api.example.com", "api.example.com", True),
        ("other.test api.example.com", "api.example.com", True),
        ("api.example.com:443", "api.example.com", True),
        ("api.example.com:8443", "api.example.com", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:443", "10.1.2.3", True),
        ("10.1.2.3:80", "10.1.2.3", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3/8", "10.9.9.9", True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:db8::1", "2001:db8::1", True),
        ("[2001:db8::1]:443", "2001:db8::1", True),
        ("[2001:db8::1]:80", "2001:db8::1", False),
        ("2001:db8::/32", "10.1.2.3", False),
        (". , ,*. :1", "api.example.com", False),
        (f"api.example.com:{'9' * 5000}", "api.example.com", False),
    ],
)
def test_no_proxy_names_hosts_that_are_called_directly(
    no_proxy: str, host: str, direct: bool
) -> None:
    proxies = read(https_proxy="http://proxy.test:3128", NO_PROXY=no_proxy)
    proxy = proxies.proxy_for(Origin(tls=True, host=host, port=443))
    assert proxy == (None if direct else PROXY)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"],
)
def test_this_machine_is_never_called_over_a_proxy(host: str) -> None:
    proxies = read(all_proxy="http://proxy.test:3128", no_proxy="")
    for tls in (True, False):
        assert proxies.proxy_for(Origin(tls, host, 8000)) is None


@given(
    st.dictionaries(
        st.sampled_from(["http_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"]),
        st.text().filter(lambda text: "s3cr3t" not in text.lower())
        | st.from_regex(r"(https?://)?[a-z.\[\]:/,* ]*", fullmatch=True)
        | st.text("a.[]:/?#%@\n").map("http://user:s3cr3t@{}".format),
    )
)
@example({"http_proxy": "http://user:s3cr3t@a\n.test"})
@example({"http_proxy": "http://a.test:80\r\nx"})
def test_any_environment_is_read_or_refused(environment: dict[str, str]) -> None:
    words = ""
    try:
        proxies = ProxySettings.from_environment(environment)
    except BadProxySettings as error:
        words = str(error)
    else:
        proxies.proxy_for(HTTP)
        words = repr(proxies) + str(proxies.http)
    assert "s3cr3t" not in words


def test_no_representation_has_the_password() -> None:
    proxies = read(all_proxy="http://user:hidden@proxy.test:3128")
    encoded = base64.b64encode(b"user:hidden").decode()
    for words in (repr(proxies), str(proxies.https), repr(UpstreamClient(proxies=proxies))):
        assert "hidden" not in words
        assert encoded not in words
