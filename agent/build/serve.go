package build

import (
	"bufio"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/openapi"

	"github.com/headwater-dev/headwater/internal/app"
	"github.com/headwater-dev/headwater/internal/confine"
)

const (
	// Command calls the process that builds.
	Command = "kustomize-build"
	// patience is how long a process goes on that nobody has ended in time.
	patience = 10 * time.Second
	// mostCopied bounds JSON patches that copy, in bytes.
	mostCopied = 16 << 20
	// mostError bounds the text of an error, in bytes.
	mostError = 1 << 20
)

// Commands are those that the agent calls itself with.
func Commands() []app.Command {
	return []app.Command{{
		Name:  Command,
		About: "run kustomize, for the agent itself",
		Run:   func(_ context.Context, args []string) error { return Serve(args) },
	}}
}

// ServeIfCalled is Serve where this process was called as one that builds, and ends it
// then. It is for the binaries of tests, which a Builder takes for the agent.
func ServeIfCalled() {
	if len(os.Args) < 2 || os.Args[1] != Command {
		return
	}
	if err := Serve(os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Serve builds what the process that has started this one asks for on the standard
// input, until that ends. The argument is the memory that it may take, in bytes.
func Serve(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s is for the agent itself", Command)
	}
	memory, err := strconv.ParseUint(args[0], 10, 63)
	if err != nil {
		return fmt.Errorf("%s is for the agent itself: %w", Command, err)
	}
	if err := confine.Memory(memory); err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	w := &worker{in: gob.NewDecoder(os.Stdin), out: out, says: gob.NewEncoder(out)}
	// What libraries print may be anybody's.
	log.SetOutput(io.Discard)
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		os.Stdout, os.Stderr = null, null
	}
	jsonpatch.AccumulatedCopySizeLimit = mostCopied
	schema := openapi.GetSchemaVersion()
	for {
		var what order
		if err := w.in.Decode(&what); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		watchdog := time.AfterFunc(Timeout+patience, func() { os.Exit(1) })
		said := w.build(what.Dir)
		watchdog.Stop()
		said.Last = openapi.GetSchemaVersion() != schema
		if err := w.say(said); err != nil || said.Last {
			return err
		}
	}
}

// worker is the process that builds, and the file system of its build.
type worker struct {
	in   *gob.Decoder
	out  *bufio.Writer
	says *gob.Encoder
}

// build runs kustomize, says what it has built, and returns how it ended.
func (w *worker) build(dir string) (end message) {
	defer func() {
		if recover() != nil { // what it says may quote a file
			end = message{Verb: crashed, Stack: string(debug.Stack())}
		}
	}()
	options := &krusty.Options{LoadRestrictions: types.LoadRestrictionsNone, PluginConfig: types.DisabledPluginConfig()}
	built, err := krusty.MakeKustomizer(options).Run(w, dir)
	if err != nil {
		return message{Verb: done, Text: shown(err)}
	}
	for _, resource := range built.Resources() {
		name := resource.CurId().String()
		raw, err := resource.MarshalJSON()
		if err != nil {
			return message{Verb: done, Text: shown(fmt.Errorf("%s: %w", name, err))}
		}
		if err := w.says.Encode(message{Verb: object, Text: name, Object: raw}); err != nil {
			return message{Verb: done, Text: err.Error()}
		}
	}
	return message{Verb: done}
}

// shown is the text of an error. One that is too long is left out whole: what is quoted
// in it is known by how the quote begins and ends.
func shown(err error) string {
	text := err.Error()
	if len(text) > mostError {
		return fmt.Sprintf("kustomize failed with an error of %d bytes, which is too long to be shown", len(text))
	}
	return text
}

// say sends a message, and all before it.
func (w *worker) say(what message) error {
	return errors.Join(w.says.Encode(what), w.out.Flush())
}

// ask has the process that has started this one look at its files. Without that one
// there is nothing to do.
func (w *worker) ask(what verb, name string) *answer {
	made := &answer{}
	if w.say(message{Verb: what, Text: name}) != nil || w.in.Decode(made) != nil {
		os.Exit(1)
	}
	return made
}

var _ filesys.FileSystem = (*worker)(nil)

// ReadFile implements filesys.FileSystem.
func (w *worker) ReadFile(name string) ([]byte, error) {
	made := w.ask(readFile, name)
	return made.Content, made.err()
}

// ReadDir implements filesys.FileSystem.
func (w *worker) ReadDir(name string) ([]string, error) {
	made := w.ask(readDir, name)
	return made.Names, made.err()
}

// CleanedAbs implements filesys.FileSystem.
func (w *worker) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	made := w.ask(cleanedAbs, name)
	return filesys.ConfirmedDir(made.Dir), made.Base, made.err()
}

// Exists implements filesys.FileSystem.
func (w *worker) Exists(name string) bool { return w.ask(exists, name).Yes }

// IsDir implements filesys.FileSystem.
func (w *worker) IsDir(name string) bool { return w.ask(isDir, name).Yes }

// Glob is no part of what a build needs of a file system, as are all that follow.
func (w *worker) Glob(string) ([]string, error) { return nil, errors.ErrUnsupported }

// Walk is not supported.
func (w *worker) Walk(string, filepath.WalkFunc) error { return errors.ErrUnsupported }

// Open is not supported.
func (w *worker) Open(string) (filesys.File, error) { return nil, errors.ErrUnsupported }

// Create is not supported.
func (w *worker) Create(string) (filesys.File, error) { return nil, errors.ErrUnsupported }

// Mkdir is not supported.
func (w *worker) Mkdir(string) error { return errors.ErrUnsupported }

// MkdirAll is not supported.
func (w *worker) MkdirAll(string) error { return errors.ErrUnsupported }

// RemoveAll is not supported.
func (w *worker) RemoveAll(string) error { return errors.ErrUnsupported }

// WriteFile is not supported.
func (w *worker) WriteFile(string, []byte) error { return errors.ErrUnsupported }
