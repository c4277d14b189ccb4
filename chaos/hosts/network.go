package hosts

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// Cut drops everything between the hosts of a and those of b, both ways.
func (r *Rig) Cut(ctx context.Context, a, b []*Host) error {
	for _, x := range a {
		for _, y := range b {
			if err := x.Deafen(ctx, y); err != nil {
				return err
			}
			if err := y.Deafen(ctx, x); err != nil {
				return err
			}
		}
	}
	r.Log.Info("cut", "between", names(a), "and", names(b))
	return nil
}

// Heal ends all cuts and losses, and mends all lines.
func (r *Rig) Heal(ctx context.Context) error {
	for _, h := range r.Hosts {
		if err := h.filter(ctx, "flush set inet cuts deaf\nflush chain inet cuts loss"); err != nil {
			return err
		}
		if h.relay != nil {
			if err := h.mend(ctx); err != nil {
				return err
			}
		}
	}
	r.Log.Info("healed")
	return nil
}

// Deafen drops what comes from another host, one way.
func (h *Host) Deafen(ctx context.Context, to *Host) error {
	return h.filter(ctx, "add element inet cuts deaf { "+to.Address+" }")
}

// filter runs a command of nft on the host, after making sure of the table.
func (h *Host) filter(ctx context.Context, rules string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	script := `add table inet cuts
add set inet cuts deaf { type ipv4_addr; }
add chain inet cuts in { type filter hook input priority -300; }
flush chain inet cuts in
add rule inet cuts in ip saddr @deaf drop
add chain inet cuts loss { type filter hook input priority -299; }
` + rules + "\n"
	command := exec.CommandContext(ctx, "ip", "netns", "exec", h.namespace, "nft", "-f", "-")
	command.Stdin = strings.NewReader(script)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("nft on %s: %w: %s", h.Name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func names(hosts []*Host) string {
	var list []string
	for _, h := range hosts {
		list = append(list, h.Name)
	}
	return strings.Join(list, ",")
}
