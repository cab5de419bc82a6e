package release

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"

	helmrelease "helm.sh/helm/v3/pkg/release"
	corev1 "k8s.io/api/core/v1"
)

const (
	// dataKey of a Secret holds the record.
	dataKey = "release"
	// MaxRecord bounds what a record may unpack to, in bytes: some forty times what
	// fits into a Secret.
	MaxRecord = 32 << 20
	// fewBytes is what a record may have that is packed fast. Larger ones are
	// packed as tightly as Helm does it: a Secret may have 1 MiB.
	fewBytes = 512 << 10
)

// packers are reused: each has tables of a megabyte.
var packers = sync.Pool{New: func() any { return newPacker(gzip.BestSpeed) }}

func newPacker(level int) *gzip.Writer {
	made, err := gzip.NewWriterLevel(io.Discard, level)
	if err != nil {
		panic(err) // there is no such level
	}
	return made
}

// Encode packs a release into the data of a Secret, as Helm reads it.
func Encode(rel *helmrelease.Release) (map[string][]byte, error) {
	text, err := json.Marshal(rel)
	if err != nil {
		return nil, fmt.Errorf("record of the release %s: %w", rel.Name, err)
	}
	if len(text) > MaxRecord {
		return nil, fmt.Errorf("the record of the release %s has more than %d bytes, and could not be read again", rel.Name, MaxRecord)
	}
	fast, _ := packers.Get().(*gzip.Writer)
	packed := pack(fast, text)
	packers.Put(fast)
	if len(packed) > fewBytes {
		packed = pack(newPacker(gzip.BestCompression), text)
	}
	return map[string][]byte{dataKey: base64.StdEncoding.AppendEncode(nil, packed)}, nil
}

func pack(by *gzip.Writer, text []byte) []byte {
	var packed bytes.Buffer
	by.Reset(&packed)
	_, _ = by.Write(text) // a buffer takes all
	_ = by.Close()
	return packed.Bytes()
}

// Decode reads the release in a Secret of Helm's storage, and says how many bytes it
// unpacks to. The bytes are somebody else's: what they unpack to is bounded, and a
// release that lacks a part is none.
func Decode(secret *corev1.Secret) (made *helmrelease.Release, size int, err error) {
	packed, err := base64.StdEncoding.AppendDecode(nil, secret.Data[dataKey])
	if err != nil {
		return nil, 0, fmt.Errorf("data key %s: it is not in base64", dataKey)
	}
	text := packed
	if len(packed) > 3 && packed[0] == 0x1f && packed[1] == 0x8b {
		unpacker, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return nil, 0, fmt.Errorf("data key %s: %w", dataKey, err)
		}
		if text, err = io.ReadAll(io.LimitReader(unpacker, MaxRecord+1)); err != nil {
			return nil, 0, fmt.Errorf("data key %s: %w", dataKey, err)
		}
		if len(text) > MaxRecord {
			return nil, 0, fmt.Errorf("data key %s: it unpacks to more than %d bytes", dataKey, MaxRecord)
		}
	}
	var rel helmrelease.Release
	if err := json.Unmarshal(text, &rel); err != nil {
		return nil, 0, fmt.Errorf("data key %s: it is no release", dataKey)
	}
	if missing := missingOf(&rel); missing != "" {
		return nil, 0, fmt.Errorf("data key %s: the release has no %s", dataKey, missing)
	}
	return &rel, len(text), nil
}

// missingOf is what a release lacks that all who read one count on, Helm as well;
// empty when it is whole.
func missingOf(rel *helmrelease.Release) string {
	switch {
	case rel.Info == nil:
		return "info"
	case rel.Chart == nil || rel.Chart.Metadata == nil:
		return "chart"
	case slices.Contains(rel.Hooks, nil):
		return "content in one of its hooks"
	case slices.Contains(rel.Chart.Files, nil) || slices.Contains(rel.Chart.Templates, nil):
		return "content in one of its chart's files"
	}
	return ""
}
