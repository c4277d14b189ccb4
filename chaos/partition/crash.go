package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
)

// crashes of agents since they were last looked for. An agent that ended by a fault of its
// own was started again as systemd would, and a site that is whole does not show it.
func (r *run) crashes() ([]string, error) {
	var found []string
	for _, h := range r.Hosts {
		lines, read, err := crashesIn(h.AgentLog(), r.read[h.Name])
		if err != nil {
			return nil, err
		}
		r.read[h.Name] = read
		for _, line := range lines {
			found = append(found, "the agent of "+h.Name+" crashed: "+line)
		}
	}
	return found, nil
}

// crashesIn a log from an offset on, and the offset of what is to be read next: half a line
// is left for then.
func crashesIn(path string, offset int64) (lines []string, next int64, err error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, offset, err
	}
	defer func() { _ = file.Close() }() // it was only read
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return nil, offset, err
	}
	content, err := io.ReadAll(file)
	if err != nil {
		return nil, offset, err
	}
	content = content[:bytes.LastIndexByte(content, '\n')+1]
	for line := range strings.Lines(string(content)) {
		crash := strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:")
		// That is how a voter halts when its log is not taken.
		if crash && !strings.Contains(line, "fatal commit error") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines, offset + int64(len(content)), nil
}
