try version
try --version
try run --version
try version --json
try version more
