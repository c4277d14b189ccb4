package state

import (
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

var settings = table[*skerryv1.Settings]{
	name:    "settings",
	key:     func(s *skerryv1.Settings) string { return s.GetName() },
	ordinal: settingsOrdinal,
}

func (x *tx) applySettings(given *skerryv1.Settings) (*skerryv1.AppliedResource, error) {
	if given.GetName() != manifest.SettingsName {
		return nil, problem.New(problem.Invalid, "Settings/"+bounded(given.GetName(), maxName), "the settings are named %s", manifest.SettingsName).WithField("name")
	}
	present := settings.get(x.rows, given.GetName())
	change, err := declare(present, given, present != nil, x.index, x.time)
	if err != nil {
		return nil, err
	}
	if change.outcome != outcomeUnchanged {
		settings.put(x, change.next)
		x.inform(subject{kind: "Settings", name: given.GetName()}, "SettingsChanged", "generation %d", change.next.GetGeneration())
	}
	return &skerryv1.AppliedResource{Resource: manifest.Wrap(change.next), Outcome: change.outcome}, nil
}

// deleteSettings brings the defaults back.
func (x *tx) deleteSettings(name string, version uint64) (*sitev1.Outcome, error) {
	present := settings.get(x.rows, name)
	if present == nil {
		return nil, missing("Settings", name)
	}
	if err := checkVersion("Settings/"+name, version, present.GetResourceVersion()); err != nil {
		return nil, err
	}
	settings.remove(x, name)
	x.inform(subject{kind: "Settings", name: name}, "SettingsDeleted", "the defaults hold")
	return &sitev1.Outcome{}, nil
}

// Settings of the site; the defaults while nobody has said anything else.
func (v *View) Settings() *skerryv1.Settings {
	if present := settings.get(v.rows, manifest.SettingsName); present != nil {
		return present
	}
	fallback := &skerryv1.Settings{}
	manifest.DefaultSettings(fallback)
	return fallback
}

// Lifetimes of what the site issues.
func (v *View) Lifetimes() manifest.Lifetimes {
	return manifest.LifetimesOf(settings.get(v.rows, manifest.SettingsName))
}
