package manifest

import (
	"fmt"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// contained are the capabilities that lead out of no container.
var contained = map[string]bool{
	"AUDIT_WRITE": true, "CHOWN": true, "DAC_OVERRIDE": true, "FOWNER": true, "FSETID": true, "KILL": true,
	"MKNOD": true, "NET_BIND_SERVICE": true, "NET_RAW": true, "SETFCAP": true, "SETGID": true, "SETPCAP": true,
	"SETUID": true, "SYS_CHROOT": true,
}

// ReachesHost tells by which field, and how, a workload gets at the node that it
// runs on: with such a one somebody can become the node. Both are empty when it
// does not.
func ReachesHost(w *skerryv1.Workload) (field, how string) {
	for i, mount := range w.GetContainer().GetMounts() {
		if mount.GetHostPath() != "" {
			return fmt.Sprintf("container.mounts[%d].hostPath", i), "mounts " + shorten(mount.GetHostPath()) + " of its node"
		}
	}
	for i, capability := range w.GetContainer().GetAddCapabilities() {
		if !contained[capability] {
			return fmt.Sprintf("container.addCapabilities[%d]", i), "has the capability " + shorten(capability) + ", which leads out of containers"
		}
	}
	return "", ""
}

// capabilities of Linux, as capabilities(7) lists them, without CAP_.
var capabilities = map[string]bool{
	"AUDIT_CONTROL": true, "AUDIT_READ": true, "AUDIT_WRITE": true, "BLOCK_SUSPEND": true, "BPF": true,
	"CHECKPOINT_RESTORE": true, "CHOWN": true, "DAC_OVERRIDE": true, "DAC_READ_SEARCH": true, "FOWNER": true,
	"FSETID": true, "IPC_LOCK": true, "IPC_OWNER": true, "KILL": true, "LEASE": true, "LINUX_IMMUTABLE": true,
	"MAC_ADMIN": true, "MAC_OVERRIDE": true, "MKNOD": true, "NET_ADMIN": true, "NET_BIND_SERVICE": true,
	"NET_BROADCAST": true, "NET_RAW": true, "PERFMON": true, "SETFCAP": true, "SETGID": true, "SETPCAP": true,
	"SETUID": true, "SYSLOG": true, "SYS_ADMIN": true, "SYS_BOOT": true, "SYS_CHROOT": true, "SYS_MODULE": true,
	"SYS_NICE": true, "SYS_PACCT": true, "SYS_PTRACE": true, "SYS_RAWIO": true, "SYS_RESOURCE": true,
	"SYS_TIME": true, "SYS_TTY_CONFIG": true, "WAKE_ALARM": true,
}
