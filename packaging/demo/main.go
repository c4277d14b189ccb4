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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *binary, *web, *keep)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo: "+err.Error())
		os.Exit(1)
	}
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
