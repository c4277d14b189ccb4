// Package manifest reads what users declare: strict YAML (or JSON) into
// resources, defaults, and validation. The API validates with the same rules,
// so that a file that passes here passes there.
package manifest
