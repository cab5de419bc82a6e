package release

import (
	"bytes"
	"encoding/base64"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// Whoever may write Secrets in a target may write a record: what reads is a record that
// can be stored again as it is, and nothing else.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"name":"web","version":1,"namespace":"a","manifest":"---\n","info":{"status":"deployed"},"chart":{"metadata":{"name":"app","version":"1.0.0"}},"config":{"a":1}}`,
		`{"name":"web","version":2,"info":{"status":"pending-upgrade"},"hooks":[{"name":"h","events":["test"],"last_run":{"phase":"Succeeded"}}],"chart":{"metadata":{"name":"app"}}}`,
		`{"name":"web","info":null,"hooks":[null]}`, `{"chart":{"metadata":null,"templates":[null],"values":{"a":[{}]}},"info":{}}`, `[]`, `null`, ``,
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, content []byte, packed bool) {
		if packed {
			content = pack(newPacker(1), content)
		}
		secret := &corev1.Secret{Data: map[string][]byte{dataKey: base64.StdEncoding.AppendEncode(nil, content)}}
		rel, size, err := Decode(secret)
		if err != nil {
			return
		}
		if size > MaxRecord {
			t.Fatalf("%d bytes were unpacked", size)
		}
		record, err := RecordOf(rel, "storage")
		if err != nil {
			return
		}
		data, err := Encode(rel)
		if err != nil {
			t.Fatalf("it cannot be stored again: %v", err)
		}
		again, _, err := Decode(&corev1.Secret{Data: data})
		if err != nil {
			t.Fatalf("it cannot be read again: %v", err)
		}
		same, err := RecordOf(again, "storage")
		if err != nil || same.Name != record.Name || same.Version != record.Version || same.Status != record.Status || !bytes.Equal([]byte(same.Digest), []byte(record.Digest)) {
			t.Fatalf("it reads as another one: %+v, not %+v (%v)", same, record, err)
		}
	})
}
