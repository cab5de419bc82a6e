package reconcile

import (
	"errors"
	"regexp"
	"strings"
)

const (
	redacted = "*****"
	// maxQuoted bounds in bytes what is quoted of an error.
	maxQuoted = 300
)

// secretPatterns find what must never leave the process in a message. Each
// keeps its first group and hides the rest.
var secretPatterns = []*regexp.Regexp{
	// user:password@ in a URL
	regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s@"']+@`),
	// Authorization headers and bearer tokens
	regexp.MustCompile(`(?i)((?:bearer|basic)\s+)[a-z0-9._~+/-]{8,}=*`),
	// JSON Web Tokens, wherever they stand
	regexp.MustCompile(`()eyJ[a-zA-Z0-9_-]{8,}\.[a-zA-Z0-9_-]{8,}\.[a-zA-Z0-9_-]*`),
	// secrets in query strings and key=value pairs
	regexp.MustCompile(`(?i)((?:password|passwd|token|secret|access_key|accesskey|signature|sig)=)[^&\s"']+`),
	// PEM blocks
	regexp.MustCompile(`(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)`),
}

// Redact hides credentials in a text that leaves the process: those of URLs,
// tokens, query strings and private keys. It is the last line of defence; code
// that builds a message does not put a secret into it.
func Redact(text string) string {
	for _, pattern := range secretPatterns {
		replacement := "${1}" + redacted
		if pattern == secretPatterns[0] {
			replacement += "@"
		}
		text = pattern.ReplaceAllString(text, replacement)
	}
	return text
}

// OneLine is the error's text as short as a part of a sentence, for errors that a
// remote or a file may have written a part of.
func OneLine(err error) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(err.Error(), "?")), " ")
	if len(text) > maxQuoted {
		text = strings.ToValidUTF8(text[:maxQuoted], "") + "..."
	}
	return text
}

// redactError is the error with a text that may be logged.
func redactError(err error) error {
	return errors.New(Redact(err.Error()))
}
