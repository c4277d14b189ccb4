package manifest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// SettingsName is the name of the one resource of kind Settings.
const SettingsName = "site"

const day = 24 * time.Hour

// bounds of one lifetime, and what it is when nothing is said.
type bounds struct {
	fallback string
	min, max time.Duration
}

// lifetimes, the one place where they are decided.
var (
	nodeBounds      = bounds{"90d", time.Hour, 730 * day}
	operatorBounds  = bounds{"90d", time.Hour, 730 * day}
	workloadBounds  = bounds{"14d", time.Hour, 365 * day}
	authorityBounds = bounds{"10950d", 7300 * day, 18250 * day}
)

// DefaultSettings fills in what settings leave open.
func DefaultSettings(s *skerryv1.Settings) {
	set(&s.Kind, "Settings")
	set(&s.Name, SettingsName)
	if s.Lifetimes == nil {
		s.Lifetimes = &skerryv1.Lifetimes{}
	}
	set(&s.Lifetimes.Node, nodeBounds.fallback)
	set(&s.Lifetimes.Operator, operatorBounds.fallback)
	set(&s.Lifetimes.Workload, workloadBounds.fallback)
	set(&s.Lifetimes.Authority, authorityBounds.fallback)
}

// Lifetimes of certificates.
type Lifetimes struct{ Node, Operator, Workload, Authority time.Duration }

// LifetimesOf settings; what is missing or out of bounds is as by default.
func LifetimesOf(s *skerryv1.Settings) Lifetimes {
	l := s.GetLifetimes()
	return Lifetimes{
		Node: nodeBounds.of(l.GetNode()), Operator: operatorBounds.of(l.GetOperator()),
		Workload: workloadBounds.of(l.GetWorkload()), Authority: authorityBounds.of(l.GetAuthority()),
	}
}

func (b bounds) of(text string) time.Duration {
	if d, err := lifetime(text); err == nil && d >= b.min && d <= b.max {
		return d
	}
	d, err := lifetime(b.fallback)
	if err != nil {
		panic("manifest: a default is not a lifetime: " + err.Error())
	}
	return d
}

// lifetime reads `90d`, or what Duration reads.
func lifetime(text string) (time.Duration, error) {
	if count, ok := strings.CutSuffix(text, "d"); ok {
		days, err := strconv.ParseUint(count, 10, 16)
		if err == nil {
			return time.Duration(days) * day, nil
		}
	}
	d, err := Duration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a length of time such as 90d or 36h", shorten(text))
	}
	return d, nil
}

func (v *validator) settings(s *skerryv1.Settings) {
	if s.GetName() != SettingsName {
		v.fail("name", "the settings are named %s", SettingsName).Hint = "a site has one of them"
	}
	v.scheduling(s.GetScheduling())
	v.losses(s.GetLosses())
	v.backups(s.GetBackups())
	v.lifetime("lifetimes.node", s.GetLifetimes().GetNode(), nodeBounds)
	v.lifetime("lifetimes.operator", s.GetLifetimes().GetOperator(), operatorBounds)
	v.lifetime("lifetimes.workload", s.GetLifetimes().GetWorkload(), workloadBounds)
	v.lifetime("lifetimes.authority", s.GetLifetimes().GetAuthority(), authorityBounds)
}

func (v *validator) lifetime(field, text string, b bounds) {
	d, err := lifetime(text)
	switch {
	case err != nil:
		v.fail(field, "%w", err)
	case d < b.min || d > b.max:
		v.fail(field, "%s is not between %s and %s", shorten(text), inDays(b.min), inDays(b.max))
	}
}

func inDays(d time.Duration) string {
	if d < day {
		return d.String()
	}
	return fmt.Sprintf("%dd", d/day)
}
