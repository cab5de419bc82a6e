package app

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	. "github.com/onsi/gomega"
	"go.uber.org/zap/zapcore"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// TestTheStandardLogTellsNoValue: in the words of Helm 3.21, of two layers of
// values that do not fit each other; and a handler that panics is heard.
func TestTheStandardLogTellsNoValue(t *testing.T) {
	g := NewWithT(t)
	flags := log.Flags()
	t.Cleanup(func() { log.SetFlags(flags); log.SetOutput(io.Discard) })
	say := func(level zapcore.Level) string {
		var said bytes.Buffer
		takeStandardLog(zap.New(zap.JSONEncoder(), zap.Level(level), zap.WriteTo(&said)))
		log.Printf("warning: destination for %s is a table. Ignoring non-table value (%v)", "auth", "tok-12345")
		log.Printf("warning: cannot overwrite table with non table for %s (%v)", "password", "hunter2\nof (many) lines")
		return said.String()
	}
	debug := say(zapcore.DebugLevel)
	g.Expect(debug).To(ContainSubstring(`"level":"debug"`))
	g.Expect(debug).To(ContainSubstring("destination for auth is a table. Ignoring non-table value"))
	g.Expect(debug).To(ContainSubstring("cannot overwrite table with non table for password"))
	g.Expect(debug).NotTo(Or(ContainSubstring("tok-12345"), ContainSubstring("hunter2"), ContainSubstring("lines")))
	g.Expect(say(zapcore.InfoLevel)).To(BeEmpty())

	var said bytes.Buffer
	takeStandardLog(zap.New(zap.JSONEncoder(), zap.Level(zapcore.InfoLevel), zap.WriteTo(&said)))
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("out of luck") }))
	_, err := server.Client().Get(server.URL) //nolint:noctx,bodyclose // there is no answer
	g.Expect(err).To(HaveOccurred())
	server.Close()
	g.Expect(said.String()).To(ContainSubstring("out of luck"))
}
