// Command beater tells a witness that it lives: `beater HOST:PORT` connects and
// sends its name, chosen at its start, again and again. With - in place of the
// address it writes to its standard output. It ends only when it is killed.
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

// every is the pause between two signs of life.
const every = 10 * time.Millisecond

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "beater HOST:PORT|-")
		os.Exit(2)
	}
	signal.Ignore(syscall.SIGTERM) // as a program that does not want to end
	name := rand.Text()[:8] + "\n"
	for os.Args[1] == "-" {
		_, _ = os.Stdout.WriteString(".") // nobody may listen
		time.Sleep(every)
	}
	for {
		beat(os.Args[1], name)
		time.Sleep(every)
	}
}

// beat until the connection breaks.
func beat(address, name string) {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }() // it is broken
	for {
		if _, err := conn.Write([]byte(name)); err != nil {
			return
		}
		time.Sleep(every)
	}
}
