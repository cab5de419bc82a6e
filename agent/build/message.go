package build

import (
	"errors"
	"io/fs"
)

// order is what a process is asked for.
type order struct {
	// Dir is the directory to build.
	Dir string
}

// verb is what a process says.
type verb int

const (
	// readFile and those that follow ask for a file or a directory, and are answered.
	readFile verb = iota
	readDir
	cleanedAbs
	exists
	isDir
	// object is a part of what was built.
	object
	// done ends a build: it has failed when there is a text.
	done
	// crashed ends a build with a panic.
	crashed
)

// String is how the log names what was asked for.
func (v verb) String() string {
	switch v {
	case readFile:
		return "the content of"
	case readDir:
		return "the entries of"
	case cleanedAbs:
		return "the place of"
	case exists:
		return "whether there is"
	default:
		return "whether it is a directory:"
	}
}

// message is what a process says of its build.
type message struct {
	Verb verb
	// Text is a path, an object's name, or an error.
	Text string
	// Object is in JSON.
	Object []byte
	// Stack says where it crashed.
	Stack string
	// Last says that the process takes no order any more.
	Last bool
}

// answer is what a message is answered by.
type answer struct {
	Content   []byte
	Names     []string
	Dir, Base string
	Yes       bool
	// Err is an error, and Missing says that nothing is there.
	Err     string
	Missing bool
}

// failed notes an error.
func (a *answer) failed(err error) {
	if err != nil {
		a.Err, a.Missing = err.Error(), errors.Is(err, fs.ErrNotExist)
	}
}

// err is the error that was noted.
func (a *answer) err() error {
	switch {
	case a.Missing:
		return missing(a.Err)
	case a.Err != "":
		return errors.New(a.Err)
	}
	return nil
}

// missing is the error of a file that is not there.
type missing string

func (m missing) Error() string    { return string(m) }
func (m missing) Is(is error) bool { return is == fs.ErrNotExist }
