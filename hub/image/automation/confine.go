package automation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/types"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
	"github.com/headwater-dev/headwater/internal/app"
	"github.com/headwater-dev/headwater/internal/confine"
)

// Templates are a language in which a line doubles a text forty times, or goes on
// for years. A tenant's is run in a process of its own, which ends alone.
const (
	// templateCommand calls that process.
	templateCommand = "commit-message"
	// templateTime is how long it may take, of the clock and of a processor.
	templateTime = 10 * time.Second
	// templateMemory is what it may take beyond what the program itself takes.
	templateMemory = 64 << 20
	// templateStack bounds templates that call themselves.
	templateStack = 16 << 20
	// mostComplaint is how much of what it complains about is read.
	mostComplaint = 4 << 10
)

// filling is the one place for such a process: all of them together are to fit
// beside the hub.
var filling = make(chan struct{}, 1)

// order is all that goes into a message.
type order struct {
	Template   string
	Automation types.NamespacedName
	Files      map[string][]sent
	Values     map[string]string
}

// sent is a Change on its way to the process.
type sent struct {
	Change
	Image  imagev1.ImageRef
	Object ObjectIdentifier
}

// Commands are those that the hub calls itself with.
func Commands() []app.Command {
	return []app.Command{{
		Name:  templateCommand,
		About: "fill in the template of a commit message, for the hub itself",
		Run:   func(context.Context, []string) error { return fillIn(os.Stdin, os.Stdout) },
	}}
}

// message fills in a template. One that takes too long or too much memory is an
// error, as is a message that is too long.
func message(ctx context.Context, spec imagev1.CommitSpec, automation types.NamespacedName, files map[string][]Change) (string, error) {
	what := order{Template: spec.MessageTemplate, Automation: automation, Files: map[string][]sent{}, Values: spec.MessageTemplateValues}
	for file, changes := range files {
		for _, change := range changes {
			what.Files[file] = append(what.Files[file], sent{Change: change, Image: change.image, Object: change.object})
		}
	}
	in, err := json.Marshal(what)
	if err != nil {
		return "", err
	}
	self, err := confine.Self()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	select {
	case filling <- struct{}{}:
		defer func() { <-filling }()
	case <-ctx.Done():
		return "", fmt.Errorf("waiting for the templates of others: %w", context.Cause(ctx))
	}
	ctx, cancel := context.WithTimeout(ctx, templateTime)
	defer cancel()
	out, complaint := bounded{left: maxMessage + 1}, bounded{left: mostComplaint}
	process := exec.CommandContext(ctx, self, templateCommand) //nolint:gosec // it is this program
	process.Env = []string{}                                   // nothing of the hub's
	process.Stdin, process.Stdout, process.Stderr = bytes.NewReader(in), &out, &complaint
	err = process.Run()
	var ended *exec.ExitError
	switch {
	case err == nil:
		return out.String(), nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("spec.git.commit.messageTemplate takes longer than %s", templateTime)
	case errors.As(err, &ended) && ended.ExitCode() == 1 && complaint.left >= 0:
		_, why, _ := strings.Cut(strings.TrimSpace(complaint.String()), ": ")
		return "", errors.New(why)
	case errors.As(err, &ended):
		return "", fmt.Errorf("spec.git.commit.messageTemplate takes more than %d MiB of memory, or %s of a processor", templateMemory>>20, templateTime)
	}
	return "", fmt.Errorf("fill in the template of the commit message: %w", err)
}

// fillIn is what the process does.
func fillIn(in io.Reader, out io.Writer) error {
	if err := bound(); err != nil {
		return err
	}
	var what order
	if err := json.NewDecoder(in).Decode(&what); err != nil {
		return err
	}
	files := map[string][]Change{}
	for file, changes := range what.Files {
		for _, change := range changes {
			change.image, change.object = change.Image, change.Object
			files[file] = append(files[file], change.Change)
		}
	}
	compiled, err := parseMessage(what.Template)
	if err != nil {
		return err
	}
	changed, updated := describe(files)
	text, err := execute(compiled, messageData{AutomationObject: what.Automation, Changed: changed, Updated: updated, Values: what.Values})
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, text)
	return err
}

// bound bounds this process. What it exceeds ends it.
func bound() error {
	debug.SetMaxStack(templateStack)
	seconds := uint64(templateTime / time.Second)
	if err := syscall.Setrlimit(syscall.RLIMIT_CPU, &syscall.Rlimit{Cur: seconds, Max: seconds}); err != nil {
		return fmt.Errorf("bound the time: %w", err)
	}
	return confine.Memory(templateMemory)
}
