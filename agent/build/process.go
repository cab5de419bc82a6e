package build

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/headwater-dev/headwater/internal/confine"
)

var (
	// errBroken says that a process has ended in the middle.
	errBroken = errors.New("the process has ended")
	// errGone says that it had ended before.
	errGone = errors.New("the process had ended before the build")
)

// process is one that builds, as this process sees it.
type process struct {
	command *exec.Cmd
	in      io.Closer
	orders  *gob.Encoder
	says    *gob.Decoder
	said    *lastWords
	// retire ends it while it waits.
	retire *time.Timer
	// asked is what it asked for last.
	asked message
	// waited says that it has waited for a build, of which it has said nothing yet.
	waited bool
}

// start starts a process with so much memory for a build.
func start(memory int64) (*process, error) {
	self, err := confine.Self()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	p := &process{command: exec.Command(self, Command, strconv.FormatInt(memory, 10)), said: &lastWords{}} //nolint:gosec,noctx // it is this program; a build's context ends it
	p.command.Env = []string{"GOMAXPROCS=1"}                                                               // nothing of the agent's
	p.command.Stderr = p.said
	in, err := p.command.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start a process of kustomize: %w", err)
	}
	out, err := p.command.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start a process of kustomize: %w", err)
	}
	p.in, p.orders, p.says = in, gob.NewEncoder(in), gob.NewDecoder(out)
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("start a process of kustomize: %w", err)
	}
	return p, nil
}

// build has the process build, and says whether it can do so again. An error is errBroken
// when it has ended.
func (p *process) build(ctx context.Context, files Files, dir string, take func(string, []byte) error) (reusable bool, err error) {
	p.asked = message{}
	if p.orders.Encode(order{dir}) != nil {
		return false, errBroken
	}
	for {
		var said message
		if p.says.Decode(&said) != nil {
			return false, errBroken
		}
		p.waited = false
		switch said.Verb {
		case object:
			if err := take(said.Text, said.Object); err != nil {
				return false, err
			}
		case done:
			if said.Text != "" {
				err = errors.New(said.Text)
			}
			return !said.Last, err
		case crashed:
			log.FromContext(ctx).Error(ErrCrashed, "kustomize crashed", "stack", said.Stack)
			return !said.Last, ErrCrashed
		default:
			p.asked = said
			if p.orders.Encode(look(files, said)) != nil {
				return false, errBroken
			}
		}
	}
}

// look answers what a process asks of its files.
func look(files Files, asked message) (made answer) {
	var err error
	switch asked.Verb {
	case readFile:
		made.Content, err = files.ReadFile(asked.Text)
	case readDir:
		made.Names, err = files.ReadDir(asked.Text)
	case cleanedAbs:
		var dir fmt.Stringer
		dir, made.Base, err = files.CleanedAbs(asked.Text)
		made.Dir = dir.String()
	case exists:
		made.Yes = files.Exists(asked.Text)
	case isDir:
		made.Yes = files.IsDir(asked.Text)
	}
	made.failed(err)
	return made
}

func (p *process) kill() { _ = p.command.Process.Kill() } // it may have ended

// end ends the process, and says how it ended.
func (p *process) end() error {
	_ = p.in.Close()
	p.kill()
	return p.command.Wait()
}

// lastWords keep the beginning of what a process says when it ends.
type lastWords struct{ bytes.Buffer }

// Write implements io.Writer.
func (w *lastWords) Write(b []byte) (int, error) {
	const most = 1 << 10
	_, _ = w.Buffer.Write(b[:min(len(b), max(0, most-w.Len()))]) // a buffer takes all
	return len(b), nil
}

// outOfMemory says whether the runtime of Go, or of its race detector, ended the process
// for want of memory.
func (w *lastWords) outOfMemory() bool {
	return bytes.Contains(w.Bytes(), []byte("memory")) || bytes.Contains(w.Bytes(), []byte("failed to allocate"))
}
