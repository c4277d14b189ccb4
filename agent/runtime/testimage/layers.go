package testimage

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const busybox = "/bin/busybox"

// serve runs its arguments and ends them on SIGTERM. A process with number 1
// that does not ask for SIGTERM never gets it.
const serve = `#!/bin/sh
pid=
trap '[ -z "$pid" ] || kill "$pid"; wait; exit 0' TERM INT
"$@" &
pid=$!
wait "$pid"
`

// busyboxLayer holds the applets.
func busyboxLayer() ([]byte, error) {
	binary, err := os.ReadFile(busybox)
	if err != nil {
		return nil, fmt.Errorf("the test image is made of busybox (Debian: busybox-static): %w", err)
	}
	applets, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --list: %w", busybox, err)
	}
	files := []file{{name: "bin/"}, {name: "bin/busybox", content: binary, executable: true}}
	for _, applet := range strings.Fields(string(applets)) {
		if applet != "busybox" {
			files = append(files, file{name: "bin/" + applet, target: "busybox"})
		}
	}
	return layer(files)
}

// programLayer holds further programs.
func programLayer(paths []string) ([]byte, error) {
	files := []file{{name: "bin/"}}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		files = append(files, file{name: "bin/" + filepath.Base(path), content: content, executable: true})
	}
	return layer(files)
}

// siteLayer holds what is served and the files that programs expect.
func siteLayer() ([]byte, error) {
	return layer([]file{
		{name: "bin/serve", content: []byte(serve), executable: true},
		{name: "dev/"},
		{name: "etc/"},
		{name: "etc/group", content: []byte("root:x:0:\nwww:x:1000:\n")},
		{name: "etc/passwd", content: []byte("root:x:0:0:root:/:/bin/sh\nwww:x:1000:1000:www:/www:/bin/sh\n")},
		{name: "proc/"},
		{name: "sys/"},
		{name: "tmp/"},
		{name: "www/"},
		{name: "www/healthz", content: []byte("ok\n")},
		{name: "www/index.html", content: []byte("<!doctype html><title>Skerry</title><p>It runs.\n")},
	})
}
