package config

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"skerry.dev/shared/problem"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFileChangesTheDefaults(t *testing.T) {
	named := func(change func(*Config)) Config {
		c := Default()
		c.Name = "n1"
		change(&c)
		return c
	}
	for _, test := range []struct {
		name, text string
		want       Config
	}{
		{"a name alone", "name: n1\n", named(func(*Config) {})},
		{"a part of a group of fields", "name: n1\ncni:\n  subnet: 10.99.0.0/16\n", named(func(c *Config) { c.CNI.Subnet = "10.99.0.0/16" })},
		{"the level of the log", "name: n1\nlogLevel: debug\n", named(func(c *Config) { c.LogLevel = slog.LevelDebug })},
		{"an address and a zone", "name: n1\naddress: 192.0.2.7\nzone: cellar\nlabels: {disk: ssd}\n", named(func(c *Config) {
			c.Address, c.Zone, c.Labels = "192.0.2.7", "cellar", map[string]string{"disk": "ssd"}
		})},
		{"an IPv6 address", "name: n1\naddress: 2001:db8::7\n", named(func(c *Config) { c.Address = "2001:db8::7" })},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Load(write(t, test.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("the configuration (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEmptyFileIsTheDefault(t *testing.T) {
	for name, text := range map[string]string{"nothing": "", "a comment": "# nothing here\n"} {
		got, err := Load(write(t, text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := Default()
		want.Name = got.Name
		if diff := cmp.Diff(want, got); diff != "" || got.Name == "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	for _, test := range []struct{ name, text, field string }{
		{"a field that there is not", "prot: 7600\n", ""},
		{"a field that there is not in a group", "containerd:\n  adress: /run/c.sock\n", ""},
		{"a field twice", "port: 1\nport: 2\n", ""},
		{"text for a number", "port: many\n", ""},
		{"what is no YAML", "port: [\n", ""},
		{"a list", "- port\n", ""},
		{"a name that is none", "name: N_1\n", "name"},
		{"a zone that is none", "zone: a/b\n", "zone"},
		{"an address that is a name", "address: n1.example\n", "address"},
		{"an address with a port", "address: 192.0.2.7:7600\n", "address"},
		{"port zero", "port: 0\n", "port"},
		{"a port above all", "gossipPort: 65536\n", "gossipPort"},
		{"a port below all", "port: -1\n", "port"},
		{"one port for both", "port: 7601\n", "gossipPort"},
		{"a state directory that depends on where one is", "stateDir: state\n", "stateDir"},
		{"no run directory", "runDir: ''\n", "runDir"},
		{"a plugin directory that depends on where one is", "cni: {pluginDir: cni}\n", "cni.pluginDir"},
		{"a subnet that is an address", "cni: {subnet: 10.0.0.1}\n", "cni.subnet"},
		{"a server to forward to that is a name", "dns: {forward: [dns.example]}\n", "dns.forward"},
		{"a server to forward to at port zero", "dns: {forward: ['192.0.2.1:0']}\n", "dns.forward"},
		{"too many servers to forward to", "dns: {forward: [192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4]}\n", "dns.forward"},
		{"a level that there is not", "logLevel: loud\n", ""},
		{"more than a configuration can be", "#" + strings.Repeat("x", maxSize) + "\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, test.text)
			_, err := Load(path)
			if problem.KindOf(err) != problem.Invalid {
				t.Fatalf("it gave %v", err)
			}
			if !strings.Contains(err.Error(), path) {
				t.Errorf("the error does not name the file: %v", err)
			}
			if got := fieldOf(err); test.field != "" && got != test.field {
				t.Errorf("the field is %q, want %q", got, test.field)
			}
		})
	}
}

func TestServersToForwardToHaveAPort(t *testing.T) {
	got, err := DNS{Forward: []string{"192.0.2.53", "192.0.2.54:5353", "2001:db8::53"}}.Servers()
	if diff := cmp.Diff([]string{"192.0.2.53:53", "192.0.2.54:5353", "[2001:db8::53]:53"}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestMissingFile(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"))
	if problem.KindOf(err) != problem.Invalid {
		t.Errorf("a file that was named and is not there gave %v", err)
	}
}

func TestAddresses(t *testing.T) {
	c := Default()
	c.Address = "2001:db8::7"
	if got := c.APIAddress() + " " + c.GossipAddress(); got != "[2001:db8::7]:7600 [2001:db8::7]:7601" {
		t.Errorf("the addresses are %s", got)
	}
}

func fieldOf(err error) string {
	var p *problem.Error
	if errors.As(err, &p) {
		return p.Field
	}
	return ""
}
