// Package backup is the form of a backup of a site: one file that proves itself
// to anybody, and that opens with one of the site's recovery keys alone.
//
//	"skerry backup 1\n"                  the form
//	length, BackupHeader                 in the clear: of what, of when, for whom
//	length, ciphertext                   parts of BackupContent, 64 KiB each
//	...
//	length, ciphertext of nothing        the end of the content
//	length, BackupSeal                   digest of all before, signed
//
// Lengths are four bytes, big endian. Each part is under AES-256-GCM with the
// backup's own key, bound to the header and to its number. That key is sealed to
// every recovery key by HPKE. The seal is signed by the audit key of the voter
// that made the backup, which the chain of trust in the header names: a bit that
// has changed, or an end that is missing, is found without any key.
//
// The package reads and writes what it is given, and knows no site.
package backup
