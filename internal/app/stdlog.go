package app

import (
	"log"
	"strings"

	"github.com/go-logr/logr"
)

// takeStandardLog has what libraries write to Go's standard log come out as the
// other lines do.
func takeStandardLog(logger logr.Logger) {
	log.SetFlags(0)
	log.SetOutput(standardLog{logger.WithName("library")})
}

// standardLog is told at debug level, but for what servers say of their
// connections and handlers. It is safe for concurrent use.
type standardLog struct{ logger logr.Logger }

// Write implements io.Writer. Where Helm lays values over each other it ends its
// line with the value that it leaves out, in brackets, which may be a secret.
func (l standardLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if strings.HasPrefix(text, "http: ") {
		l.logger.Info(text)
		return len(line), nil
	}
	text, _, _ = strings.Cut(text, " (")
	l.logger.V(1).Info(text)
	return len(line), nil
}
