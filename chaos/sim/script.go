package sim

import (
	"bufio"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"skerry.dev/chaos/check"
	"skerry.dev/chaos/nemesis"
)

// Script is a run that once broke a rule, with as little in it as does so.
type Script struct {
	// Found is what it found, in words.
	Found string
	Seed  uint64
	// Bug that is planted; empty for what was wrong with the product, and is not any
	// more.
	Bug    Bug
	Rule   check.Rule
	Faults time.Duration
	// As in Options.
	Tide              Tide
	Witness, Rehearse bool
	// People are the requests that are made; Everybody makes all of the seed.
	People    []string
	Everybody bool
	Plan      []nemesis.Fault
}

// Options to run it.
func (s Script) Options() Options {
	o := Options{
		Seed: s.Seed, Bug: s.Bug, Faults: s.Faults, Plan: append([]nemesis.Fault{}, s.Plan...), Tide: s.Tide, Witness: s.Witness, Rehearse: s.Rehearse,
	}
	if !s.Everybody {
		o.People = map[string]bool{}
		for _, id := range s.People {
			o.People[id] = true
		}
	}
	return o
}

// String is the script as ParseScript reads it.
func (s Script) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "found %s\nrule %s\nseed %d\n", s.Found, s.Rule, s.Seed)
	if s.Bug != "" {
		fmt.Fprintf(&b, "bug %s\n", s.Bug)
	}
	fmt.Fprintf(&b, "for %v\n", s.Faults)
	if s.Tide != (Tide{}) {
		fmt.Fprintf(&b, "tide %v %v\n", s.Tide.Wave, s.Tide.Calm)
	}
	if s.Witness {
		b.WriteString("witness\n")
	}
	if s.Rehearse {
		b.WriteString("rehearse\n")
	}
	if s.Everybody {
		b.WriteString("people everybody\n")
	} else {
		fmt.Fprintf(&b, "people %s\n", strings.Join(s.People, " "))
	}
	for _, f := range s.Plan {
		fmt.Fprintf(&b, "fault %v\n", scripted(f))
	}
	return b.String()
}

// scripted is a fault as one line.
func scripted(f nemesis.Fault) string {
	words := []string{"at", f.At.String(), "for", f.For.String(), f.Kind.String(), "seed", strconv.FormatUint(f.Seed, 10), "of"}
	for _, h := range f.Hosts {
		words = append(words, hostName(h))
	}
	if f.Leader {
		words = append(words, "coordinator")
	}
	if f.Exclusive {
		words = append(words, "exclusive")
	}
	if f.Moving {
		words = append(words, "moving")
	}
	return strings.Join(words, " ")
}

// ParseScript reads what String wrote, with lines of comment.
func ParseScript(text string) (Script, error) {
	s := Script{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, rest, _ := strings.Cut(line, " ")
		if err := s.set(key, rest); err != nil {
			return Script{}, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return s, lines.Err()
}

func (s *Script) set(key, rest string) (err error) {
	switch key {
	case "found":
		s.Found = rest
	case "rule":
		s.Rule = check.Rule(rest)
	case "bug":
		s.Bug = Bug(rest)
	case "seed":
		s.Seed, err = strconv.ParseUint(rest, 10, 64)
	case "for":
		s.Faults, err = time.ParseDuration(rest)
	case "tide":
		wave, calm, _ := strings.Cut(rest, " ")
		if s.Tide.Wave, err = time.ParseDuration(wave); err == nil {
			s.Tide.Calm, err = time.ParseDuration(calm)
		}
	case "witness":
		s.Witness = true
	case "rehearse":
		s.Rehearse = true
	case "people":
		s.People, s.Everybody = strings.Fields(rest), rest == "everybody"
	case "fault":
		var f nemesis.Fault
		f, err = parseFault(strings.Fields(rest))
		s.Plan = append(s.Plan, f)
	default:
		err = fmt.Errorf("no such word: %q", key)
	}
	return err
}

func parseFault(words []string) (f nemesis.Fault, err error) {
	if len(words) < 8 || words[0] != "at" || words[2] != "for" || words[5] != "seed" || words[7] != "of" {
		return f, fmt.Errorf("a fault is \"at TIME for TIME KIND seed NUMBER of HOSTS\", not %q", strings.Join(words, " "))
	}
	if f.At, err = time.ParseDuration(words[1]); err != nil {
		return f, err
	}
	if f.For, err = time.ParseDuration(words[3]); err != nil {
		return f, err
	}
	if f.Kind, err = nemesis.KindOf(words[4]); err != nil {
		return f, err
	}
	if f.Seed, err = strconv.ParseUint(words[6], 10, 64); err != nil {
		return f, err
	}
	for _, word := range words[8:] {
		host, err := strconv.Atoi(strings.TrimPrefix(word, "n"))
		switch {
		case word == "coordinator":
			f.Leader = true
		case word == "exclusive":
			f.Exclusive = true
		case word == "moving":
			f.Moving = true
		case err != nil || host < 1:
			return f, fmt.Errorf("no such host: %q", word)
		default:
			f.Hosts = append(f.Hosts, host-1)
		}
	}
	slices.Sort(f.Hosts)
	return f, nil
}
