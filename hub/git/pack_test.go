package git

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/storage/filesystem"
	. "github.com/onsi/gomega"
)

// git runs it in the directory, with the input, and returns what it says.
func git(t testing.TB, dir string, stdin io.Reader, args ...string) []byte {
	t.Helper()
	command := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@t"}, args...)...)
	command.Env = []string{"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "PATH=/usr/bin:/bin:/usr/local/bin"}
	command.Stdin = stdin
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), stderr.String())
	return output
}

// text is lines by a seed.
func text(seed uint64, bytes int) string {
	random := rand.New(rand.NewPCG(seed, 1))
	var b strings.Builder
	for b.Len() < bytes {
		fmt.Fprintf(&b, "line %x\n", random.Uint64())
	}
	return b.String()
}

// histories is a repository of files that change a little each time: small ones,
// some that go-git does not read into memory at once, and large ones.
func histories(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	git(t, dir, nil, "init", "--quiet", "--bare", "--initial-branch=main")
	small, middle, large := text(1, 2_000), text(2, 40_000), text(3, largeObject)
	var stream bytes.Buffer
	for i := range 20 {
		fmt.Fprintf(&stream, "commit refs/heads/main\ncommitter t <t@t> %d +0000\ndata 1\nx\n", i)
		for name, content := range map[string]string{
			"empty": "", "small": small[:100*i] + fmt.Sprint(i) + small[100*i:], "middle": middle[:2000*i] + fmt.Sprint(i) + middle[2000*i:],
		} {
			fmt.Fprintf(&stream, "M 100644 inline %s/%s\ndata %d\n%s\n", name, name, len(content), content)
		}
	}
	for i, content := range []string{large, large + "more", "less" + large} {
		fmt.Fprintf(&stream, "M 100644 inline large%d\ndata %d\n%s\n", i, len(content), content)
	}
	fmt.Fprintf(&stream, "tag v1\nfrom refs/heads/main\ntagger t <t@t> 1 +0000\ndata 1\nx\n")
	git(t, dir, &stream, "fast-import", "--quiet")
	return dir
}

// objectsOf opens what receive has left in the directory.
func objectsOf(dir string) *filesystem.Storage {
	return filesystem.NewStorageWithOptions(osfs.New(dir), newRecent(1<<20), filesystem.Options{LargeObjectThreshold: largeObject})
}

// TestPacksOfGit has Git make packfiles in all the ways that it knows, and Git
// check the index.
func TestPacksOfGit(t *testing.T) {
	from := histories(t)
	names := strings.Fields(string(git(t, from, nil, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)")))
	for name, c := range map[string]struct {
		options []string
		kept    int64
	}{
		"whole objects":             {[]string{"--window=0"}, keptBytes},
		"changes by offset":         {[]string{"--delta-base-offset"}, keptBytes},
		"changes by hash":           {nil, keptBytes},
		"nothing is kept in memory": {[]string{"--delta-base-offset", "--window=50", "--depth=50"}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			options := append([]string{"pack-objects", "--quiet", "--all", "--stdout", "--no-reuse-delta"}, c.options...)
			content := git(t, from, nil, options...)
			dir := t.TempDir()
			g.Expect(receive(t.Context(), bytes.NewReader(content), osfs.New(dir), newRecent(c.kept))).To(Succeed())

			found, err := filepath.Glob(filepath.Join(dir, packDir, "*"))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(found).To(HaveLen(2), "a packfile and its index")
			git(t, dir, nil, "verify-pack", found[0])
			for _, name := range names {
				object, err := objectsOf(dir).EncodedObject(plumbing.AnyObject, plumbing.NewHash(name))
				g.Expect(err).NotTo(HaveOccurred(), name)
				hasher := plumbing.NewHasher(object.Type(), object.Size())
				r, err := object.Reader()
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(io.Copy(hasher, r)).To(Equal(object.Size()))
				g.Expect(r.Close()).To(Succeed())
				g.Expect(hasher.Sum().String()).To(Equal(name))
			}
		})
	}
}

// made is a packfile by hand.
type made struct {
	bytes.Buffer
	count uint32
	z     *zlib.Writer
}

// add adds an object of a type, in front of whose content may be what it changes,
// and returns where it is.
func (m *made) add(kind plumbing.ObjectType, size int, of, content []byte) (offset int) {
	if m.count++; m.count == 1 {
		m.WriteString("PACK\x00\x00\x00\x02....")
		m.z = zlib.NewWriter(m)
	}
	offset = m.Len()
	first, rest := byte(kind)<<4|byte(size&15), size>>4
	for ; rest > 0; rest >>= 7 {
		m.WriteByte(first | 0x80)
		first = byte(rest & 127)
	}
	m.WriteByte(first)
	m.Write(of)
	m.z.Reset(m)
	_, _ = m.z.Write(content) // to memory
	_ = m.z.Close()
	return offset
}

func (m *made) bytes() []byte {
	content := m.Bytes()
	binary.BigEndian.PutUint32(content[8:], m.count)
	hash := crypto.SHA1.New()
	_, _ = hash.Write(content) // never fails
	return hash.Sum(content)
}

// changes are the instructions of a delta: its sizes, and what follows.
func changes(before, after int, instructions ...byte) []byte {
	return append(binary.AppendUvarint(binary.AppendUvarint(nil, uint64(before)), uint64(after)), instructions...)
}

// copied is the instruction to copy so many bytes (up to 64 kB) from the start.
func copied(n int) []byte { return []byte{0x80 | 0x10 | 0x20, byte(n), byte(n >> 8)} }

func hashed(content string) []byte {
	hash := plumbing.ComputeHash(plumbing.BlobObject, []byte(content))
	return hash[:]
}

// TestChangesOfAllKinds is a packfile as Git takes it but does not make it.
func TestChangesOfAllKinds(t *testing.T) {
	g := NewWithT(t)
	var m made
	// "abcxy" from "abcx" from "abc", each before what it is made from, and one
	// that says where rather than which.
	last := changes(4, 5, append(copied(4), 1, 'y')...)
	m.add(plumbing.REFDeltaObject, len(last), hashed("abcx"), last)
	middle := changes(3, 4, append(copied(3), 1, 'x')...)
	at := m.add(plumbing.REFDeltaObject, len(middle), hashed("abc"), middle)
	other := changes(4, 5, append(copied(4), 1, 'z')...)
	m.add(plumbing.OFSDeltaObject, len(other), []byte{byte(m.Len() - at)}, other)
	m.add(plumbing.BlobObject, 3, nil, []byte("abc"))
	// One that changes more than is held in memory.
	much := strings.Repeat("0123456789abcdef", largeObject/16)
	long := changes(3, len(much))
	for chunk := range slices.Chunk([]byte(much), 64) {
		long = append(append(long, byte(len(chunk))), chunk...)
	}
	m.add(plumbing.REFDeltaObject, len(long), hashed("abc"), long)
	dir := t.TempDir()
	g.Expect(receive(t.Context(), bytes.NewReader(m.bytes()), osfs.New(dir), newRecent(keptBytes))).To(Succeed())
	for _, want := range []string{"abc", "abcx", "abcxy", "abcxz", much} {
		object, err := objectsOf(dir).EncodedObject(plumbing.BlobObject, plumbing.Hash(hashed(want)))
		g.Expect(err).NotTo(HaveOccurred(), want)
		r, err := object.Reader()
		g.Expect(err).NotTo(HaveOccurred())
		content, err := io.ReadAll(r)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(content) == want).To(BeTrue())
	}
}

func TestPacksThatDoNotAddUp(t *testing.T) {
	blob := func(content string) func(*made) {
		return func(m *made) { m.add(plumbing.BlobObject, len(content), nil, []byte(content)) }
	}
	delta := func(of, instructions []byte) func(*made) {
		return func(m *made) {
			kind := plumbing.REFDeltaObject
			if len(of) < 20 {
				kind = plumbing.OFSDeltaObject
			}
			m.add(kind, len(instructions), of, instructions)
		}
	}
	deep := func(m *made) {
		at := m.add(plumbing.BlobObject, 1, nil, []byte("a"))
		for i := 1; i <= maxDepth+1; i++ {
			next := changes(i, i+1, append(copied(i), 1, 'a')...)
			at = m.add(plumbing.OFSDeltaObject, len(next), []byte{byte(m.Len() - at)}, next)
		}
	}
	for name, c := range map[string]struct {
		make []func(*made)
		cut  func([]byte) []byte
		want string
	}{
		"nothing":             {cut: func([]byte) []byte { return nil }, want: "empty packfile"},
		"not a packfile":      {cut: func([]byte) []byte { return []byte("<html><body>hello</body></html>") }, want: "malformed pack file signature"},
		"half":                {cut: func(b []byte) []byte { return b[:len(b)-25] }, want: "it ends too early"},
		"without its sum":     {cut: func(b []byte) []byte { return b[:len(b)-20] }, want: "it ends too early"},
		"a wrong sum":         {cut: func(b []byte) []byte { b[len(b)-1]++; return b }, want: "checksum mismatch"},
		"more than it":        {cut: func(b []byte) []byte { return append(b, 'x') }, want: "something follows it"},
		"too many objects":    {cut: func(b []byte) []byte { b[8] = 1; return b }, want: "it brings 16777217 objects, more than 1000000: have the server give out single commits"},
		"a short object":      {make: []func(*made){func(m *made) { m.add(plumbing.BlobObject, 5, nil, []byte("abcd")) }}, want: "an object has 4 bytes instead of 5"},
		"a long object":       {make: []func(*made){func(m *made) { m.add(plumbing.BlobObject, 3, nil, []byte("abcd")) }}, want: "inflated object exceeds declared size"},
		"a base elsewhere":    {make: []func(*made){delta(hashed("elsewhere"), changes(1, 1, copied(1)...))}, want: "it changes objects that it does not have"},
		"a base of itself":    {make: []func(*made){delta([]byte{0}, changes(1, 1, copied(1)...))}, want: "invalid OFS delta offset"},
		"a base between":      {make: []func(*made){blob("abc"), delta([]byte{3}, changes(3, 3, copied(3)...))}, want: "it changes objects that it does not have"},
		"a base of that size": {make: []func(*made){blob("abc"), delta(hashed("abc"), changes(4, 3, copied(3)...))}, want: "invalid delta"},
		"beyond its base":     {make: []func(*made){blob("abc"), delta(hashed("abc"), changes(3, 4, copied(4)...))}, want: "invalid delta"},
		"too little":          {make: []func(*made){blob("abc"), delta(hashed("abc"), changes(3, 4, copied(3)...))}, want: "invalid delta"},
		"no instructions":     {make: []func(*made){blob("abc"), delta(hashed("abc"), nil)}, want: "invalid delta"},
		"sizes without end":   {make: []func(*made){blob("abc"), delta(hashed("abc"), bytes.Repeat([]byte{0xff}, 30))}, want: "delta"},
		"a chain without end": {make: []func(*made){deep}, want: "an object is made by more than 4095 changes"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var m made
			for _, add := range append(c.make, blob("whole")) {
				add(&m)
			}
			content := m.bytes()
			if c.cut != nil {
				content = c.cut(content)
			}
			dir := t.TempDir()
			g.Expect(receive(t.Context(), bytes.NewReader(content), osfs.New(dir), newRecent(keptBytes))).To(MatchError(ContainSubstring(c.want)))
			g.Expect(filepath.Glob(filepath.Join(dir, packDir, "*.idx"))).To(BeEmpty(), "nothing that somebody takes for whole")
		})
	}
}

// TestAFewBytesThatStandForTerabytes ends with the time that there is.
func TestAFewBytesThatStandForTerabytes(t *testing.T) {
	g := NewWithT(t)
	var m made
	base := strings.Repeat("a", 0xffff)
	m.add(plumbing.BlobObject, len(base), nil, []byte(base))
	const times = 1_300_000
	bomb := changes(len(base), times*len(base), bytes.Repeat(copied(len(base)), times)...)
	m.add(plumbing.REFDeltaObject, len(bomb), hashed(base), bomb)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	g.Expect(receive(ctx, bytes.NewReader(m.bytes()), osfs.New(t.TempDir()), newRecent(keptBytes))).To(MatchError(context.DeadlineExceeded))
}

// The instructions of a delta are held in memory: a few bytes can stand for gigabytes
// of them.
func TestAChangeThatIsTooLong(t *testing.T) {
	g := NewWithT(t)
	var m made
	m.add(plumbing.BlobObject, 3, nil, []byte("abc"))
	m.add(plumbing.REFDeltaObject, maxDelta+1, hashed("abc"), changes(3, 3, copied(3)...))
	err := receive(t.Context(), bytes.NewReader(m.bytes()), osfs.New(t.TempDir()), newRecent(keptBytes))
	g.Expect(err).To(MatchError(ContainSubstring("it changes an object by 67108865 bytes, more than 67108864: keep large files out of Git")))
}

// TestAPackWithoutEnd does not fill the disk.
func TestAPackWithoutEnd(t *testing.T) {
	g := NewWithT(t)
	var m made
	m.add(plumbing.BlobObject, 3, nil, []byte("abc"))
	whole, dir := m.bytes(), t.TempDir()
	files := osfs.New(dir)
	g.Expect(receiveUpTo(t.Context(), int64(len(whole)), bytes.NewReader(whole), files, newRecent(keptBytes))).To(Succeed())
	err := receiveUpTo(t.Context(), int64(len(whole))-1, bytes.NewReader(whole), files, newRecent(keptBytes))
	g.Expect(err).To(MatchError(ContainSubstring("the packfile is longer than")))
}

// TestRecentObjects counts what small objects take besides their content.
func TestRecentObjects(t *testing.T) {
	g := NewWithT(t)
	r := newRecent(100 * (objectOverhead + 8))
	var hashes []plumbing.Hash
	for i := range 200 {
		object := &plumbing.MemoryObject{}
		object.SetType(plumbing.BlobObject)
		_, err := fmt.Fprintf(object, "%08d", i)
		g.Expect(err).NotTo(HaveOccurred())
		r.Put(object)
		r.Put(object)
		hashes = append(hashes, object.Hash())
		_, ok := r.Get(hashes[0])
		g.Expect(ok).To(BeTrue(), "what is used stays")
	}
	kept := 0
	for _, hash := range hashes {
		if _, ok := r.Get(hash); ok {
			kept++
		}
	}
	g.Expect(kept).To(Equal(100))
	r.Clear()
	g.Expect(r.used).To(BeZero())
}

// FuzzReceive finds no packfile that is taken and cannot be read.
func FuzzReceive(f *testing.F) {
	var m made
	m.add(plumbing.BlobObject, 3, nil, []byte("abc"))
	change := changes(3, 4, append(copied(3), 1, 'x')...)
	m.add(plumbing.REFDeltaObject, len(change), hashed("abc"), change)
	f.Add(m.bytes())
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if receive(ctx, bytes.NewReader(content), osfs.New(dir), newRecent(keptBytes)) != nil {
			return
		}
		all, err := objectsOf(dir).IterEncodedObjects(plumbing.AnyObject)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		NewWithT(t).Expect(all.ForEach(func(object plumbing.EncodedObject) error {
			_, err := object.Reader()
			return err
		})).To(Succeed())
	})
}
