//go:build tools

// What scripts/compose-tools builds: the parser of Docker Compose, as a program.
package tools

import _ "github.com/compose-spec/compose-go/v2/cmd"
