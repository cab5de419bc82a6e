package git

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

const (
	// maxSigned bounds a commit or tag that is verified.
	maxSigned = 1 << 20

	pgpBegin = "-----BEGIN PGP SIGNATURE-----"
	sshBegin = "-----BEGIN SSH SIGNATURE-----"
)

// signed is a commit or tag, taken apart as git does: byte for byte, so that
// nothing escapes the signature.
type signed struct {
	// payload is what was signed, signature is its armored signature; empty
	// for an object without one.
	payload, signature []byte
}

// readObject reads the object as it is stored.
func readObject(objects storer.EncodedObjectStorer, kind plumbing.ObjectType, hash plumbing.Hash) ([]byte, error) {
	obj, err := objects.EncodedObject(kind, hash)
	if err != nil {
		return nil, err
	}
	if obj.Size() > maxSigned {
		return nil, fmt.Errorf("it has %d bytes, more than the %d that are verified", obj.Size(), maxSigned)
	}
	r, err := obj.Reader()
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	return content, errors.Join(err, r.Close())
}

// signedCommit takes the signature out of the headers of a commit.
func signedCommit(content []byte) (signed, error) {
	var s signed
	head, message := splitMessage(content)
	inside := ""
	for line := range bytes.Lines(head) {
		word, rest, _ := bytes.Cut(line, []byte(" "))
		continued := len(word) == 0
		switch {
		case continued && inside == "gpgsig":
			s.signature = append(s.signature, rest...)
			continue
		case continued && inside != "": // of a hash that is not ours
			continue
		case continued:
		case string(word) == "gpgsig":
			if len(s.signature) > 0 {
				return s, errors.New("it has two signatures")
			}
			inside, s.signature = "gpgsig", append(s.signature, rest...)
			continue
		case string(word) == "gpgsig-sha256":
			inside = "gpgsig-sha256"
			continue
		default:
			inside = ""
		}
		s.payload = append(s.payload, line...)
	}
	s.payload = append(s.payload, message...)
	return s, nil
}

// signedTag takes the signature off the end of a tag.
func signedTag(content []byte) signed {
	s := signed{payload: content}
	offset := 0
	for line := range bytes.Lines(content) {
		if bytes.HasPrefix(line, []byte(pgpBegin)) || bytes.HasPrefix(line, []byte(sshBegin)) {
			s.payload, s.signature = content[:offset], content[offset:]
		}
		offset += len(line)
	}
	return s
}

// tagged is what the first lines of a tag say of it.
type tagged struct{ object, kind, name string }

// readTag reads them in what was signed: behind the signature of any text there
// could be others. Like git it takes them in this order alone.
func readTag(payload []byte) (t tagged, err error) {
	rest := string(payload)
	for _, field := range []struct {
		word  string
		value *string
	}{{"object ", &t.object}, {"type ", &t.kind}, {"tag ", &t.name}} {
		line, after, ended := strings.Cut(rest, "\n")
		value, ok := strings.CutPrefix(line, field.word)
		if !ok || !ended {
			return tagged{}, errors.New("what was signed does not begin with the object, the type and the name of a tag")
		}
		*field.value, rest = value, after
	}
	return t, nil
}

// splitMessage is the headers, and the message with the empty line before it.
func splitMessage(content []byte) (head, message []byte) {
	if i := bytes.Index(content, []byte("\n\n")); i >= 0 {
		return content[:i+1], content[i+1:]
	}
	return content, nil
}
