package git

import (
	"bytes"
	"errors"
	"fmt"
	"io"

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
	// headers are the lines before the message, by their first word; of a
	// word that comes twice it is the first.
	headers map[string]string
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
	s := signed{headers: map[string]string{}}
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
			s.note(word, rest)
		}
		s.payload = append(s.payload, line...)
	}
	s.payload = append(s.payload, message...)
	return s, nil
}

// signedTag takes the signature off the end of a tag.
func signedTag(content []byte) signed {
	s := signed{headers: map[string]string{}, payload: content}
	head, _ := splitMessage(content)
	for line := range bytes.Lines(head) {
		word, rest, _ := bytes.Cut(line, []byte(" "))
		s.note(word, rest)
	}
	offset := 0
	for line := range bytes.Lines(content) {
		if bytes.HasPrefix(line, []byte(pgpBegin)) || bytes.HasPrefix(line, []byte(sshBegin)) {
			s.payload, s.signature = content[:offset], content[offset:]
		}
		offset += len(line)
	}
	return s
}

func (s *signed) note(word, rest []byte) {
	if _, twice := s.headers[string(word)]; !twice {
		s.headers[string(word)] = string(bytes.TrimSuffix(rest, []byte("\n")))
	}
}

// splitMessage is the headers, and the message with the empty line before it.
func splitMessage(content []byte) (head, message []byte) {
	if i := bytes.Index(content, []byte("\n\n")); i >= 0 {
		return content[:i+1], content[i+1:]
	}
	return content, nil
}
