package api

import (
	"fmt"
	"slices"

	"skerry.dev/coordinator/state"
)

// trustRoom warns when the chain of trust has used up half of what it may ever
// hold: then there are years left to set the site up anew.
func trustRoom(view *state.View) []string {
	most := state.MaxTrust
	var warnings []string
	for what, used := range map[string]int{"versions": len(view.Trust()), "revoked keys": len(view.Revoked())} {
		if text := roomText(what, used, most); text != "" {
			warnings = append(warnings, text)
		}
	}
	slices.Sort(warnings)
	return warnings
}

func roomText(what string, used, most int) string {
	if used < most/2 {
		return ""
	}
	return fmt.Sprintf("the chain of trust has %d of the %d %s that a site may ever have: at the end evictions, revocations and rotations are refused", used, most, what)
}
