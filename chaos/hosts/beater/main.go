// Command beater tells a witness that it lives: `beater HOST:PORT` connects and
// sends its name, chosen at its start, again and again, and how often it has done
// so. With - in place of the address it writes to its standard output. It ends only
// when it is killed.
package main

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	// every is the pause between two signs of life.
	every = 10 * time.Millisecond
	// longest time on one connection: that of a machine that has moved may lead
	// nowhere, without an error, through QEMU's own network.
	longest = 2 * time.Second
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "beater HOST:PORT|-")
		os.Exit(2)
	}
	signal.Ignore(syscall.SIGTERM) // as a program that does not want to end
	b := beater{name: rand.Text()[:8]}
	for os.Args[1] == "-" {
		_, _ = os.Stdout.WriteString(".") // nobody may listen
		time.Sleep(every)
	}
	for {
		b.beat(os.Args[1])
		time.Sleep(every)
	}
}

// beater counts its signs also when nobody hears them.
type beater struct {
	name  string
	count uint64
}

// beat until the connection breaks, or is old.
func (b *beater) beat(address string) {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }() // it is broken
	for begun := time.Now(); time.Since(begun) < longest; {
		b.count++
		if _, err := fmt.Fprintf(conn, "%s %d\n", b.name, b.count); err != nil {
			return
		}
		time.Sleep(every)
	}
}
