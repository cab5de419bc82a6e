package artifact

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// ErrDigest says that a file is not the one that its digest names.
var ErrDigest = errors.New("the content does not match the digest")

// digest is a checked value of the form algorithm:hex; both parts are safe as
// names of files.
type digest struct {
	algorithm, hex string
	new            func() hash.Hash
}

func parseDigest(s string) (digest, error) {
	algorithm, sum, _ := strings.Cut(s, ":")
	d := digest{algorithm: algorithm, hex: sum}
	switch algorithm {
	case "sha256":
		d.new = sha256.New
	case "sha384":
		d.new = sha512.New384
	case "sha512":
		d.new = sha512.New
	default:
		return digest{}, fmt.Errorf("artifact digest %q: want sha256, sha384 or sha512", s)
	}
	raw, err := hex.DecodeString(sum)
	if err != nil || len(raw) != d.new().Size() || strings.ToLower(sum) != sum {
		return digest{}, fmt.Errorf("artifact digest %q: not a lower-case hex %s sum", s, algorithm)
	}
	return d, nil
}

func (d digest) String() string { return d.algorithm + ":" + d.hex }

// verify reads all of r and compares.
func (d digest) verify(r io.Reader) error {
	h := d.new()
	if _, err := io.Copy(h, r); err != nil {
		return err
	}
	return d.compare(h)
}

func (d digest) compare(h hash.Hash) error {
	if got := hex.EncodeToString(h.Sum(nil)); got != d.hex {
		return fmt.Errorf("%w: want %s, have %s:%s", ErrDigest, d, d.algorithm, got)
	}
	return nil
}

// canonicalDigest is how the store names content.
func canonicalDigest(h hash.Hash) string {
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}
