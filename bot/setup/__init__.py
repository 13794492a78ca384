"""From an empty folder to a running installation: `keyturn init` begins one, `keyturn doctor` examines one."""
