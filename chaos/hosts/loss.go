package hosts

import (
	"context"
	"fmt"
)

// Lose drops so many of a thousand packets that come from other hosts, at
// random, until Heal.
func (h *Host) Lose(ctx context.Context, ofThousand int) error {
	return h.filter(ctx, fmt.Sprintf(`flush chain inet cuts loss
add rule inet cuts loss ip saddr %s accept
add rule inet cuts loss iif eth0 numgen random mod 1000 < %d drop`, h.rig.address(1), ofThousand))
}
