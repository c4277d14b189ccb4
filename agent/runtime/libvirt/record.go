package libvirt

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// record is what is known of an instance beside its domain. It is written when
// it is prepared, before it starts, and when it was seen to have ended.
type record struct {
	SpecHash string    `json:"specHash"`
	Cycle    uint64    `json:"cycle"`
	Accel    string    `json:"accel"`
	Started  time.Time `json:"started,omitzero"`
	// Ended: how was noted, unless Code is nil, when nobody knows.
	Ended time.Time `json:"ended,omitzero"`
	Code  *int32    `json:"code,omitempty"`
	// Devices is Spec.DevicesHash of what it has now.
	Devices string `json:"devices,omitempty"`
	// Disks that it has, in their order.
	Disks []diskFile `json:"disks,omitempty"`
	// Leaving: another node may run it, and this one does nothing with it until
	// somebody knows.
	Leaving bool `json:"leaving,omitempty"`
	// Arriving from another node: it is not this one's yet.
	Arriving bool `json:"arriving,omitempty"`
	// Taken: from here on it is this one's if its domain is there.
	Taken bool `json:"taken,omitempty"`
}

// arrived: it is this node's.
func (r *record) arrived() { r.Arriving, r.Taken = false, false }

const recordFile = "record.json"

// read the record of an instance; nil when there is none, or none that can be
// read: it is a leftover then.
func (d *Driver) read(id string) (*record, error) {
	text, err := d.Env.FS.ReadFile(filepath.Join(d.instanceDir(id), recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &record{}
	if json.Unmarshal(text, r) != nil {
		return nil, nil
	}
	return r, nil
}

// records of all instances that have one.
func (d *Driver) records() (map[string]*record, error) {
	ids, err := d.instances()
	if err != nil {
		return nil, problem.New(problem.Internal, d.instancesDir(), "the virtual machines of this node are not known: %w", err)
	}
	all := map[string]*record{}
	for _, id := range ids {
		r, err := d.read(id)
		if err != nil {
			return nil, problem.New(problem.Internal, id, "its record cannot be read: %w", err)
		}
		if r != nil {
			all[id] = r
		}
	}
	return all, nil
}

func (d *Driver) write(id string, r *record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return d.Env.FS.WriteFile(filepath.Join(d.instanceDir(id), recordFile), text, 0o600)
}

// exit of the last run; nil when nobody knows how it ended.
func (r *record) exit() *skerryv1.Exit {
	if r.Code == nil {
		return nil
	}
	return &skerryv1.Exit{Code: *r.Code, At: timestamppb.New(r.Ended)}
}

// instances of which there is a directory.
func (d *Driver) instances() ([]string, error) {
	entries, err := os.ReadDir(d.instancesDir())
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, entry := range entries {
		if runtime.CheckID(entry.Name()) == nil {
			ids = append(ids, entry.Name())
		}
	}
	return ids, nil
}
