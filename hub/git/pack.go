package git

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"

	"github.com/headwater-dev/headwater/internal/queue"
)

const (
	packDir = "objects/pack"
	// packBuffer is how much of a packfile is read at once.
	packBuffer = 64 << 10
	// maxDepth is how many deltas may be between an object and one that is
	// stored whole: Git's own limit.
	maxDepth = 4095
	// maxDelta bounds the instructions of one delta, which are held in memory when
	// an object is made by them, or of one that is.
	maxDelta = 16 * largeObject
	// maxObjects bounds what is held in memory of the objects of a packfile,
	// some 250 bytes each. A commit alone has 500,000 files at most.
	maxObjects = 1_000_000
	// maxPack bounds a packfile in bytes. A commit alone has 4 GiB at most, inflated.
	maxPack = 8 << 30
	// sizesLength is the most that the two sizes take that a delta starts with.
	sizesLength = 2 * binary.MaxVarintLen64
	// headLength is what a packfile starts with: a word, its version, and the number
	// of its objects.
	headLength = 12
)

// receive puts the packfile that the reader brings, and an index of it, where
// Git has them below the root of the file system. All of it is on disk before
// objects are taken apart, for which the run takes its place: a slow server keeps
// nobody from one. That is done once for each, and go-git's own parser does it up to
// three times. What fits into the cache stays there for who reads next.
//
// Objects, and what they are made of, are in memory up to largeObject; others
// are streamed.
func receive(ctx context.Context, r io.Reader, files billy.Filesystem, objects cache.Object) error {
	return receiveUpTo(ctx, maxPack, r, files, objects)
}

func receiveUpTo(ctx context.Context, most int64, r io.Reader, files billy.Filesystem, objects cache.Object) (err error) {
	incoming := bufio.NewReaderSize(&limited{r, most, errPackTooLong}, packBuffer)
	if err := checkHead(incoming); err != nil {
		return err
	}
	file, err := files.TempFile(packDir, "incoming-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := io.Copy(while{ctx, file}, incoming); err != nil {
		return err
	}
	if err := queue.Enter(ctx); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	again, err := files.Open(file.Name())
	if err != nil {
		return err
	}
	defer func() { _ = again.Close() }() // it was read from
	known := newIndex()
	p := &pack{
		ctx: ctx, files: files, name: file.Name(), objects: objects, known: known,
		stored:  packfile.NewPackfileWithCache(known, files, again, objects, largeObject),
		waiting: map[base][]int{},
	}
	scanner := packfile.NewScanner(bufio.NewReaderSize(file, packBuffer))
	sum, err := p.read(scanner)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early", packfile.ErrMalformedPackFile)
	}
	if err != nil {
		return err
	}
	// A server can still say at the end that something went wrong.
	if _, err := scanner.Checksum(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows it: %w", packfile.ErrMalformedPackFile, err)
	}
	return known.save(files, file.Name(), sum)
}

var errPackTooLong = fmt.Errorf("the packfile is longer than %d bytes: have the server give out single commits (uploadpack.allowReachableSHA1InWant), and keep large files out of Git", int64(maxPack))

// checkHead looks at how a packfile starts, before all of it is fetched in vain.
func checkHead(incoming *bufio.Reader) error {
	head, err := incoming.Peek(headLength)
	if err != nil {
		return nil // which whoever reads on is told as well
	}
	_, count, err := packfile.NewScanner(bytes.NewReader(head)).Header()
	if err != nil {
		return err
	}
	if count > maxObjects {
		return fmt.Errorf("it brings %d objects, more than %d: have the server give out single commits (uploadpack.allowReachableSHA1InWant), for which no history is needed", count, maxObjects)
	}
	return nil
}

// pack is a packfile that has arrived.
type pack struct {
	ctx     context.Context
	files   billy.Filesystem
	name    string // of the file
	objects cache.Object
	known   *index
	// stored reads again what is known.
	stored *packfile.Packfile
	// waiting are deltas, by their numbers, whose base is not known yet.
	waiting map[base][]int
	// buffer has the delta that was read last.
	buffer bytes.Buffer
}

// base is what a delta changes: a packfile says where it is or which it is.
type base struct {
	offset int64
	hash   plumbing.Hash
}

func (p *pack) read(s *packfile.Scanner) (sum plumbing.Hash, err error) {
	_, count, err := s.Header()
	if err != nil {
		return sum, err
	}
	for range count {
		if err := p.next(s); err != nil {
			return sum, err
		}
	}
	if len(p.waiting) > 0 {
		return sum, fmt.Errorf("%w: it changes objects that it does not have", packfile.ErrMalformedPackFile)
	}
	return s.Checksum()
}

// next takes one object in.
func (p *pack) next(s *packfile.Scanner) error {
	header, err := s.NextObjectHeader()
	if err != nil {
		return err
	}
	number := p.known.add(header.Offset)
	if header.Type.IsDelta() {
		return p.delta(s, header, number)
	}
	return p.whole(s, header, number)
}

func (p *pack) whole(s *packfile.Scanner, header *packfile.ObjectHeader, number int) error {
	if header.Length > largeObject {
		hasher := plumbing.NewHasher(header.Type, header.Length)
		if err := p.inflate(s, header, number, hasher); err != nil {
			return err
		}
		return p.found(number, hasher.Sum())
	}
	object := &plumbing.MemoryObject{}
	object.SetType(header.Type)
	if err := p.inflate(s, header, number, object); err != nil {
		return err
	}
	p.objects.Put(object)
	return p.found(number, object.Hash())
}

func (p *pack) delta(s *packfile.Scanner, header *packfile.ObjectHeader, number int) error {
	if header.Length > maxDelta {
		return fmt.Errorf("it changes an object by %d bytes, more than %d: keep large files out of Git", header.Length, maxDelta)
	}
	p.buffer.Reset()
	to := io.Writer(&p.buffer)
	if header.Length > largeObject {
		to = io.Discard // and read again as it is applied
	}
	if err := p.inflate(s, header, number, to); err != nil {
		return err
	}
	of := base{hash: header.Reference}
	if header.Type == plumbing.OFSDeltaObject {
		of = base{offset: header.OffsetReference}
	}
	from, ok := p.known.find(of)
	if !ok {
		p.waiting[of] = append(p.waiting[of], number)
		return nil
	}
	return p.change(number, from, p.buffer.Bytes())
}

// inflate writes what the object consists of.
func (p *pack) inflate(s *packfile.Scanner, header *packfile.ObjectHeader, number int, to io.Writer) error {
	n, crc, err := s.NextObject(while{p.ctx, to})
	if err != nil {
		return err
	}
	if n != header.Length {
		return fmt.Errorf("%w: an object has %d bytes instead of %d", packfile.ErrMalformedPackFile, n, header.Length)
	}
	p.known.entries[number].crc = crc
	return nil
}

// found says which object an entry is, and goes on with those that waited for it.
func (p *pack) found(number int, hash plumbing.Hash) error {
	p.known.name(number, hash)
	for _, of := range []base{{hash: hash}, {offset: p.known.entries[number].offset}} {
		ready := p.waiting[of]
		delete(p.waiting, of)
		for _, delta := range ready {
			if err := p.change(delta, number, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// change finds out which object the delta makes of another. Its instructions are
// empty where they have to be read again.
func (p *pack) change(number, from int, instructions []byte) error {
	delta, source := &p.known.entries[number], p.known.entries[from]
	if delta.depth = source.depth + 1; delta.depth > maxDepth {
		return fmt.Errorf("%w: an object is made by more than %d changes", packfile.ErrMalformedPackFile, maxDepth)
	}
	object, err := p.stored.GetByOffset(source.offset)
	if err != nil {
		return err
	}
	if len(instructions) == 0 || object.Size() > largeObject || sizeAfter(instructions) > largeObject {
		hash, err := p.stream(delta.offset, object)
		if err != nil {
			return err
		}
		return p.found(number, hash)
	}
	made := &plumbing.MemoryObject{}
	made.SetType(object.Type())
	if err := packfile.ApplyDelta(made, object, instructions); err != nil {
		return err
	}
	p.objects.Put(made)
	return p.found(number, made.Hash())
}

// stream applies a delta that is in the file to an object, neither of which need
// fit into memory.
func (p *pack) stream(offset int64, object plumbing.EncodedObject) (hash plumbing.Hash, err error) {
	file, err := p.files.Open(p.name)
	if err != nil {
		return hash, err
	}
	defer func() { _ = file.Close() }() // it was read from
	s := packfile.NewScanner(file)
	if _, err := s.SeekObjectHeader(offset); err != nil {
		return hash, err
	}
	inflated, err := s.ReadObject()
	if err != nil {
		return hash, err
	}
	defer func() { _ = inflated.Close() }() // it was read from
	instructions := bufio.NewReader(inflated)
	head, err := instructions.Peek(sizesLength)
	if err != nil && !errors.Is(err, io.EOF) {
		return hash, err
	}
	made, err := packfile.ReaderFromDelta(object, instructions)
	if err != nil {
		return hash, err
	}
	defer func() { _ = made.Close() }() // it was read from
	hasher := plumbing.NewHasher(object.Type(), sizeAfter(head))
	_, err = io.Copy(while{p.ctx, hasher}, made)
	return hasher.Sum(), err
}

// sizeAfter is the second of the two sizes that a delta starts with: that of the
// object that it makes. A size that is wrong does not get past who applies it.
func sizeAfter(instructions []byte) int64 {
	_, n := binary.Uvarint(instructions)
	size, _ := binary.Uvarint(instructions[max(n, 0):])
	return int64(min(size, math.MaxInt64))
}

// while writes for as long as the context lasts: a few bytes can stand for more
// than anybody has the time to read.
type while struct {
	ctx context.Context
	io.Writer
}

func (w while) Write(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.Writer.Write(b)
}
