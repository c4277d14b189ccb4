package manifest

import (
	"fmt"
	"maps"
	"slices"
)

// CheckDevices refuses what a node cannot have for its placements.
func CheckDevices(devices map[string]uint32) error {
	if len(devices) > MaxDeviceKinds {
		return fmt.Errorf("%d kinds of devices, at most %d are taken", len(devices), MaxDeviceKinds)
	}
	for _, name := range slices.Sorted(maps.Keys(devices)) {
		if !labelShape.fits(name) {
			return fmt.Errorf("%q is not the name of a device: letters and digits, with - _ . / between them", shorten(name))
		}
		if count := devices[name]; count < 1 || count > MaxDevices {
			return fmt.Errorf("%d of device %s is not between 1 and %d", count, name, MaxDevices)
		}
	}
	return nil
}
