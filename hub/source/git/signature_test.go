package git

import (
	"bytes"
	"testing"

	. "github.com/onsi/gomega"
)

// What was signed and its signature are together the object: no byte is in
// neither, where nobody has signed it.
func FuzzSigned(f *testing.F) {
	const headers = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor a <a@b> 0 +0000\ncommitter a <a@b> 0 +0000\n"
	const armored = sshBegin + "\n\nU1NI\n-----END SSH SIGNATURE-----\n"
	f.Add([]byte(headers+"\nmessage\n"), []byte(armored))
	f.Add([]byte(headers+"mergetag object 1\n type commit\n \n "+pgpBegin+"\n\nmessage\n\n"+pgpBegin+"\n"), []byte(armored))
	f.Add([]byte(headers+"gpgsig-sha256 x\n y\n\nmessage\n"), []byte("\n"))
	f.Add([]byte("object 1\ntype commit\ntag v1\n\nmessage\n"+armored+pgpBegin+"\n"), []byte(armored))
	f.Fuzz(func(t *testing.T, content, signature []byte) {
		g := NewWithT(t)
		tag := signedTag(content)
		g.Expect(append(bytes.Clone(tag.payload), tag.signature...)).To(BeEquivalentTo(append([]byte{}, content...)))

		unsigned, err := signedCommit(content)
		if err != nil {
			return
		}
		head, message := splitMessage(unsigned.payload)
		if !bytes.HasSuffix(head, []byte("\n")) || !bytes.HasSuffix(signature, []byte("\n")) {
			return
		}
		// As git commit -S writes it: a header, continued in lines that begin with
		// a space.
		indented := append(bytes.ReplaceAll(bytes.TrimSuffix(signature, []byte("\n")), []byte("\n"), []byte("\n ")), '\n')
		signed, err := signedCommit(bytes.Join([][]byte{head, []byte("gpgsig "), indented, message}, nil))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(signed.payload).To(Equal(unsigned.payload))
		g.Expect(signed.signature).To(Equal(signature))
	})
}
