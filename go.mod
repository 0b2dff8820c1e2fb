module github.com/lvsctl/lvsctl

go 1.26.0

require (
	github.com/coreos/go-systemd/v22 v22.7.0
	github.com/google/go-cmp v0.7.0
	golang.org/x/sync v0.24.0
	golang.org/x/sys v0.49.0
)

require github.com/fsnotify/fsnotify v1.10.1 // indirect
