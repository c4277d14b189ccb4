// Package manifest reads what users declare: strict YAML (or JSON) into
// resources, defaults, and validation. The API validates with the same rules,
// so that a file that passes here passes there.
//
// A manifest is judged by the protobuf descriptors of skerry.v1: a field that
// they do not have is an error, never a silent no-op. The package does no I/O.
package manifest
