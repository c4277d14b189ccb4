// Command demo brings up a site of three hosts on this machine, runs a small
// web service on it, cuts the power of the coordinator's host, and shows what
// takes over and how long it took.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"skerry.dev/chaos/hosts"
)

// demoTime bounds everything.
const demoTime = 5 * time.Minute

func main() {
	binary := flag.String("binary", "bin/skerry", "the skerry binary")
	web := flag.String("web", "packaging/demo/web.yaml", "manifest to apply")
	keep := flag.Bool("keep", false, "leave the site up")
	flag.Parse()
	if err := checkArguments(flag.Args(), *binary, *web); err != nil {
		fmt.Fprintln(os.Stderr, "demo: "+err.Error())
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *binary, *web, *keep)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo: "+err.Error())
		os.Exit(1)
	}
}

// checkArguments before anything is made, or what an earlier demo left is removed.
func checkArguments(rest []string, binary, web string) error {
	if len(rest) > 0 {
		return fmt.Errorf("%q is no flag, and what follows it was not read", rest[0])
	}
	if err := hosts.Program(binary); err != nil {
		return fmt.Errorf("-binary: %w; make build makes bin/skerry", err)
	}
	text, err := os.Open(web)
	if err != nil {
		return fmt.Errorf("-web: the manifest cannot be read: %w", err)
	}
	return text.Close()
}

func run(ctx context.Context, binary, web string, keep bool) (err error) {
	ctx, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	if binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	if err := clear(); err != nil {
		return err
	}
	rig, err := hosts.New(ctx, hosts.Options{Name: "demo", Dir: "/tmp/skerry-demo", Binary: binary})
	if err != nil {
		return err
	}
	d := &demo{rig: rig, web: web, begun: time.Now()}
	if err := d.play(ctx); err != nil {
		d.tellLogs()
		return fmt.Errorf("%w; cleaned up: %v", err, closed(rig))
	}
	if keep {
		d.tellHow()
		return remember(rig)
	}
	d.say("cleaning up")
	return rig.Close()
}

// closed says what came of closing a rig.
func closed(rig *hosts.Rig) string {
	if err := rig.Close(); err != nil {
		return err.Error()
	}
	return "yes"
}
