// AES-256-GCM (NIST SP 800-38D) over whole cells, with a block of threads for each cell. src/compute/cuda/aead/mod.rs launches it.
//
// Words are little-endian, as memory has them, so AES's columns and GHASH's blocks are read without swapping bytes. A key is
// expanded once, to: its round keys, the hash of the associated data, powers of H = E(0), and multiplication by H^256 as 32
// tables, one for each nibble (four bits) of a block, of 16 products each.
//
// Counter mode: thread t encrypts every 256th block. A round is 16 lookups in the table of SubBytes and MixColumns; each lane
// of a warp has a copy of the table in its own bank of shared memory. The three words that all counters of a cell share go
// through the first round only once.
//
// GHASH is the sum of X_i H^(n-i). Thread t takes h = h H^256 + X_i over its own blocks, with 32 lookups a block in the
// products; each of the eight lanes that load together has a copy of these in banks of its own. Zero blocks are put in front,
// so that the last block of thread t has 255 - t blocks behind it, and its sum is multiplied by H^(256-t). The hash of the
// associated data is added to the first block. The lengths are one block more; its turn in counter mode, with the counter 1,
// encrypts the tag.
//
// A block of 16 bytes costs 212 loads of 4 bytes and 32 loads of 16 from shared memory: 1360 bytes, where a multiprocessor
// loads 128 a cycle. This is the bound, not global memory. So the layers of an onion are put on one after the other, each with
// its key's tables at hand.
//
// A keystream comes off a cell before it is opened, and another goes over what was inside. Both happen in the same launch,
// while the cell is still in a cache. The keystream is counter mode as for sealing, without a tag: 848 bytes more of loads for
// each block.
//
// No branch and no address in global memory depends on a key or a payload. Addresses in shared memory do, but within a lane's
// own banks: two lanes that load together never want the same bank, whatever they look up. What does show is whether a cell was
// authentic.
#include "functions.cuh"

#define THREADS 256u

// An expanded key.
struct Expanded {
  uint4 round[15];
  uint4 bound;               // the hash of the associated data
  ulonglong2 power[THREADS]; // H^(256-t), as `multiply` has them
  uint4 product[512];        // of nibble n of 32 and its value v, at 16 n + v, with H^256
};

// Where a job's payload is (which message, and the byte in it), and where its cell is (the byte among the cells on the device).
struct Places {
  u32 message, unused;
  u64 in_message, in_cells;
};

// A cell to seal: its number in its lane, the number of its layers, their keys, and its places.
struct SealJob {
  u32 cell, layers;
  u32 key[4];  // the innermost first
  Places at;
};

// A cell to open: the lane's key, the cell's number in its lane, keystreams, and its places.
struct OpenJob {
  u32 key, cell;
  u32 under, over;  // the keys of the keystream that comes off, and of the one that goes over what is inside; or NONE
  Places at;
};

#define NONE 0xffffffffu

// Shared memory is 256 rows of 256 bytes, then 128 more rows. Row x of the 256 holds SubBytes and MixColumns of x, 32 times
// (once for each lane), and the product of the low nibble of byte x / 16 with the value x mod 16, 8 times. The 128 rows hold
// the products of the high nibbles, those of two bytes side by side. Behind them is what threads add up.
//
// So an address is a byte, times 256, plus the lane's offset. One instruction puts these together from two words.
#define HIGH 65536u
#define SUMS 98304u
#define PARTS (SUMS + 128u * 16u)

// SubBytes: the S-box of FIPS 197, 5.1.1.
__constant__ u8 SUBSTITUTED[256] = {
    0x63, 0x7c, 0x77, 0x7b, 0xf2, 0x6b, 0x6f, 0xc5, 0x30, 0x01, 0x67, 0x2b, 0xfe, 0xd7, 0xab, 0x76, 0xca, 0x82, 0xc9, 0x7d,
    0xfa, 0x59, 0x47, 0xf0, 0xad, 0xd4, 0xa2, 0xaf, 0x9c, 0xa4, 0x72, 0xc0, 0xb7, 0xfd, 0x93, 0x26, 0x36, 0x3f, 0xf7, 0xcc,
    0x34, 0xa5, 0xe5, 0xf1, 0x71, 0xd8, 0x31, 0x15, 0x04, 0xc7, 0x23, 0xc3, 0x18, 0x96, 0x05, 0x9a, 0x07, 0x12, 0x80, 0xe2,
    0xeb, 0x27, 0xb2, 0x75, 0x09, 0x83, 0x2c, 0x1a, 0x1b, 0x6e, 0x5a, 0xa0, 0x52, 0x3b, 0xd6, 0xb3, 0x29, 0xe3, 0x2f, 0x84,
    0x53, 0xd1, 0x00, 0xed, 0x20, 0xfc, 0xb1, 0x5b, 0x6a, 0xcb, 0xbe, 0x39, 0x4a, 0x4c, 0x58, 0xcf, 0xd0, 0xef, 0xaa, 0xfb,
    0x43, 0x4d, 0x33, 0x85, 0x45, 0xf9, 0x02, 0x7f, 0x50, 0x3c, 0x9f, 0xa8, 0x51, 0xa3, 0x40, 0x8f, 0x92, 0x9d, 0x38, 0xf5,
    0xbc, 0xb6, 0xda, 0x21, 0x10, 0xff, 0xf3, 0xd2, 0xcd, 0x0c, 0x13, 0xec, 0x5f, 0x97, 0x44, 0x17, 0xc4, 0xa7, 0x7e, 0x3d,
    0x64, 0x5d, 0x19, 0x73, 0x60, 0x81, 0x4f, 0xdc, 0x22, 0x2a, 0x90, 0x88, 0x46, 0xee, 0xb8, 0x14, 0xde, 0x5e, 0x0b, 0xdb,
    0xe0, 0x32, 0x3a, 0x0a, 0x49, 0x06, 0x24, 0x5c, 0xc2, 0xd3, 0xac, 0x62, 0x91, 0x95, 0xe4, 0x79, 0xe7, 0xc8, 0x37, 0x6d,
    0x8d, 0xd5, 0x4e, 0xa9, 0x6c, 0x56, 0xf4, 0xea, 0x65, 0x7a, 0xae, 0x08, 0xba, 0x78, 0x25, 0x2e, 0x1c, 0xa6, 0xb4, 0xc6,
    0xe8, 0xdd, 0x74, 0x1f, 0x4b, 0xbd, 0x8b, 0x8a, 0x70, 0x3e, 0xb5, 0x66, 0x48, 0x03, 0xf6, 0x0e, 0x61, 0x35, 0x57, 0xb9,
    0x86, 0xc1, 0x1d, 0x9e, 0xe1, 0xf8, 0x98, 0x11, 0x69, 0xd9, 0x8e, 0x94, 0x9b, 0x1e, 0x87, 0xe9, 0xce, 0x55, 0x28, 0xdf,
    0x8c, 0xa1, 0x89, 0x0d, 0xbf, 0xe6, 0x42, 0x68, 0x41, 0x99, 0x2d, 0x0f, 0xb0, 0x54, 0xbb, 0x16};

// `x` with its bytes in reverse order.
static __device__ __forceinline__ u32 swapped(u32 x) { return __byte_perm(x, 0, 0x0123); }

static __device__ __forceinline__ uint4 operator^(uint4 a, uint4 b) {
  return make_uint4(a.x ^ b.x, a.y ^ b.y, a.z ^ b.z, a.w ^ b.w);
}

// ---- AES

// Writes SubBytes and MixColumns of each byte to shared memory, a copy for each lane. MixColumns multiplies by 2, 1, 1, 3.
static __device__ __forceinline__ void lay_substitution(u8 *shared) {
  for (u32 i = threadIdx.x; i < 256 * 32; i += THREADS) {
    u32 once = SUBSTITUTED[i >> 5];
    u32 twice = (once << 1 ^ (once >> 7) * 0x1bu) & 0xffu;
    *(u32 *)(shared + (i >> 5 << 8) + ((i & 31u) << 2)) = twice | once << 8 | once << 16 | (twice ^ once) << 24;
  }
}

// The address 256 times byte `byte` of `word`, plus `lane`, which is below 256.
static __device__ __forceinline__ u32 row_of(u32 word, u32 byte, u32 lane) {
  return __byte_perm(word, lane, 0x5504u | byte << 4);
}

// SubBytes and MixColumns of byte `byte` of `word`, from this lane's copy.
static __device__ __forceinline__ u32 look_up(const u8 *shared, u32 lane, u32 word, u32 byte) {
  return *(const u32 *)(shared + row_of(word, byte, lane));
}

// `x` with its bytes moved up by so many, the upper ones coming back below.
static __device__ __forceinline__ u32 moved(u32 x, u32 bytes) { return __funnelshift_l(x, x, 8 * bytes); }

// SubBytes, ShiftRows, MixColumns and AddRoundKey, for the column that begins in `a`.
static __device__ __forceinline__ u32 column(const u8 *shared, u32 lane, u32 a, u32 b, u32 c, u32 d, u32 key) {
  return look_up(shared, lane, a, 0) ^ moved(look_up(shared, lane, b, 1), 1) ^ moved(look_up(shared, lane, c, 2), 2) ^
         moved(look_up(shared, lane, d, 3), 3) ^ key;
}

// SubBytes and ShiftRows, for the column that begins in `a`. Byte 1 of an entry of the table is SubBytes without a factor.
static __device__ __forceinline__ u32 substituted(const u8 *shared, u32 lane, u32 a, u32 b, u32 c, u32 d) {
  u32 low = __byte_perm(look_up(shared, lane, a, 0), look_up(shared, lane, b, 1), 0x0051);
  u32 high = __byte_perm(look_up(shared, lane, c, 2), look_up(shared, lane, d, 3), 0x5100);
  return __byte_perm(low, high, 0x7610);
}

// The first round, as far as all blocks of a nonce share it: all but what depends on the counter.
static __device__ __forceinline__ uint4 begun(const u8 *shared, u32 lane, const uint4 *round, uint4 nonce) {
  uint4 s = nonce ^ round[0];
  return make_uint4(look_up(shared, lane, s.x, 0) ^ moved(look_up(shared, lane, s.y, 1), 1) ^
                        moved(look_up(shared, lane, s.z, 2), 2) ^ round[1].x,
                    look_up(shared, lane, s.y, 0) ^ moved(look_up(shared, lane, s.z, 1), 1) ^
                        moved(look_up(shared, lane, s.x, 3), 3) ^ round[1].y,
                    look_up(shared, lane, s.z, 0) ^ moved(look_up(shared, lane, s.x, 2), 2) ^
                        moved(look_up(shared, lane, s.y, 3), 3) ^ round[1].z,
                    moved(look_up(shared, lane, s.x, 1), 1) ^ moved(look_up(shared, lane, s.y, 2), 2) ^
                        moved(look_up(shared, lane, s.z, 3), 3) ^ round[1].w);
}

// The block of the nonce and `counter`, encrypted. `begun` is the shared part of the first round.
static __device__ __forceinline__ uint4 encrypted(const u8 *shared, u32 lane, const uint4 *round, uint4 begun, u32 counter) {
  u32 word = swapped(counter) ^ round[0].w;
  uint4 s = begun ^ make_uint4(moved(look_up(shared, lane, word, 3), 3), moved(look_up(shared, lane, word, 2), 2),
                               moved(look_up(shared, lane, word, 1), 1), look_up(shared, lane, word, 0));
#pragma unroll
  for (u32 i = 2; i < 14; i++) {
    s = make_uint4(column(shared, lane, s.x, s.y, s.z, s.w, round[i].x), column(shared, lane, s.y, s.z, s.w, s.x, round[i].y),
                   column(shared, lane, s.z, s.w, s.x, s.y, round[i].z), column(shared, lane, s.w, s.x, s.y, s.z, round[i].w));
  }
  return make_uint4(substituted(shared, lane, s.x, s.y, s.z, s.w), substituted(shared, lane, s.y, s.z, s.w, s.x),
                    substituted(shared, lane, s.z, s.w, s.x, s.y), substituted(shared, lane, s.w, s.x, s.y, s.z)) ^
         round[14];
}

// ---- GHASH: polynomials modulo x^128 + x^7 + x^2 + x + 1

// A block as a polynomial over GF(2): bit i is the coefficient of x^i.
static __device__ __forceinline__ ulonglong2 polynomial(uint4 b) {
  u32 x = __brev(swapped(b.x)), y = __brev(swapped(b.y)), z = __brev(swapped(b.z)), w = __brev(swapped(b.w));
  return make_ulonglong2((u64)y << 32 | x, (u64)w << 32 | z);
}
// A polynomial as a block: the reverse of `polynomial`.
static __device__ __forceinline__ uint4 block_of(ulonglong2 p) {
  return make_uint4(swapped(__brev((u32)p.x)), swapped(__brev((u32)(p.x >> 32))), swapped(__brev((u32)p.y)),
                    swapped(__brev((u32)(p.y >> 32))));
}

// The product of two polynomials of 32 bits, without carries. Every fourth bit is multiplied at a time, so that sums of up to
// eight bits stay within the gaps.
static __device__ __forceinline__ u64 times32(u32 x, u32 y) {
  u32 x0 = x & 0x11111111u, x1 = x & 0x22222222u, x2 = x & 0x44444444u, x3 = x & 0x88888888u;
  u32 y0 = y & 0x11111111u, y1 = y & 0x22222222u, y2 = y & 0x44444444u, y3 = y & 0x88888888u;
  u64 z0 = (u64)x0 * y0 ^ (u64)x1 * y3 ^ (u64)x2 * y2 ^ (u64)x3 * y1;
  u64 z1 = (u64)x0 * y1 ^ (u64)x1 * y0 ^ (u64)x2 * y3 ^ (u64)x3 * y2;
  u64 z2 = (u64)x0 * y2 ^ (u64)x1 * y1 ^ (u64)x2 * y0 ^ (u64)x3 * y3;
  u64 z3 = (u64)x0 * y3 ^ (u64)x1 * y2 ^ (u64)x2 * y1 ^ (u64)x3 * y0;
  return (z0 & 0x1111111111111111ull) | (z1 & 0x2222222222222222ull) | (z2 & 0x4444444444444444ull) |
         (z3 & 0x8888888888888888ull);
}

// The product of two polynomials of 64 bits, by Karatsuba's method.
static __device__ __forceinline__ ulonglong2 times64(u64 a, u64 b) {
  u32 a0 = (u32)a, a1 = (u32)(a >> 32), b0 = (u32)b, b1 = (u32)(b >> 32);
  u64 low = times32(a0, b0), high = times32(a1, b1), middle = times32(a0 ^ a1, b0 ^ b1) ^ low ^ high;
  return make_ulonglong2(low ^ middle << 32, high ^ middle >> 32);
}

// The product of two polynomials of 128 bits, modulo x^128 + x^7 + x^2 + x + 1, by Karatsuba's method.
static __device__ __forceinline__ ulonglong2 multiply(ulonglong2 a, ulonglong2 b) {
  ulonglong2 low = times64(a.x, b.x), high = times64(a.y, b.y), middle = times64(a.x ^ a.y, b.x ^ b.y);
  u64 z1 = low.y ^ middle.x ^ low.x ^ high.x, z2 = high.x ^ middle.y ^ low.y ^ high.y, z3 = high.y;
  // x^128 is replaced by x^7 + x^2 + x + 1. What that moves beyond x^128 again comes back with z2.
  z1 ^= z3 ^ (z3 << 1 | z2 >> 63) ^ (z3 << 2 | z2 >> 62) ^ (z3 << 7 | z2 >> 57);
  z2 ^= z3 >> 63 ^ z3 >> 62 ^ z3 >> 57;
  return make_ulonglong2(low.x ^ z2 ^ z2 << 1 ^ z2 << 2 ^ z2 << 7, z1);
}

// The offset in shared memory of the product of nibble n with the value v.
static __device__ __forceinline__ u32 place_of(u32 n, u32 v) {
  u32 byte = n >> 1;
  return v * 256 + (n & 1u ? HIGH + (byte >> 1) * 4096 + (byte & 1u) * 128 : byte * 4096 + 128);
}

// Writes a key's products to shared memory, eight copies of each.
static __device__ __forceinline__ void lay_products(u8 *shared, const Expanded *key) {
#pragma unroll 8
  for (u32 k = 0; k < 512 * 8 / THREADS; k++) {
    u32 i = k * THREADS + threadIdx.x;
    *(uint4 *)(shared + place_of(i >> 7, i >> 3 & 15u) + ((i & 7u) << 4)) = key->product[i >> 3];
  }
}

// The sum of the products of the four bytes of a word, which begin with byte `first` of the block.
static __device__ __forceinline__ uint4 products(const u8 *shared, u32 lane, u32 word, u32 first) {
  u32 low = word & 0x0f0f0f0fu, high = word >> 4 & 0x0f0f0f0fu;
  uint4 sum = make_uint4(0, 0, 0, 0);
#pragma unroll
  for (u32 byte = 0; byte < 4; byte++) {
    const u8 *lows = shared + place_of(2 * (first + byte), 0), *highs = shared + place_of(2 * (first + byte) + 1, 0);
    sum = sum ^ *(const uint4 *)(lows + row_of(low, byte, lane)) ^ *(const uint4 *)(highs + row_of(high, byte, lane));
  }
  return sum;
}

// h H^256: the product of a block with H^256, by lookups.
static __device__ __forceinline__ uint4 stepped(const u8 *shared, u32 lane, uint4 h) {
  return products(shared, lane, h.x, 0) ^ products(shared, lane, h.y, 4) ^ products(shared, lane, h.z, 8) ^
         products(shared, lane, h.w, 12);
}

// The sum (exclusive or) of all threads' blocks. Only the last thread has it.
static __device__ __forceinline__ uint4 sum_of(u8 *shared, uint4 mine) {
  uint4 *sums = (uint4 *)(shared + SUMS);
  u32 t = threadIdx.x;
  if (t >= 128) sums[t - 128] = mine;
  __syncthreads();
  if (t < 128) sums[t] = sums[t] ^ mine;
  __syncthreads();
  if (t < 64) {
    const u32 *words = (const u32 *)(sums + (t >> 2) * 8) + (t & 3u);
    u32 part = 0;
#pragma unroll
    for (u32 i = 0; i < 8; i++) part ^= words[4 * i];
    ((u32 *)(shared + PARTS))[t] = part;
  }
  __syncthreads();
  uint4 all = make_uint4(0, 0, 0, 0);
  if (t == THREADS - 1)
    for (u32 i = 0; i < 16; i++) all = all ^ ((const uint4 *)(shared + PARTS))[i];
  return all;
}

// ---- cells

// Loads a block of which there are `left` bytes; the others are zero. Only a cell's last block has fewer than 16, and only if
// its payload is not a multiple of 16.
static __device__ __forceinline__ uint4 load(const u8 *from, u32 left) {
  if (left >= 16) return *(const uint4 *)from;
  u32 words[4] = {0, 0, 0, 0};
#pragma unroll
  for (u32 i = 0; i < 16; i++)
    if (i < left) words[i >> 2] |= (u32)from[i] << 8 * (i & 3u);
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// Stores the first `count` bytes of a block, one by one.
static __device__ __forceinline__ void store_bytes(u8 *to, uint4 block, u32 count) {
  u32 words[4] = {block.x, block.y, block.z, block.w};
#pragma unroll
  for (u32 i = 0; i < 16; i++)
    if (i < count) to[i] = (u8)(words[i >> 2] >> 8 * (i & 3u));
}

// The first `left` bytes of a block. The others become zero.
static __device__ __forceinline__ uint4 cut(uint4 block, u32 left) {
  u32 words[4] = {block.x, block.y, block.z, block.w};
#pragma unroll
  for (u32 i = 0; i < 4; i++) {
    u32 here = left > 4 * i ? left - 4 * i : 0;
    if (here < 4) words[i] &= (1u << 8 * here) - 1;
  }
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// Seals or opens `length` bytes. The tag is returned in the last thread. All threads of the block must call it. `at_hand` says
// that the key's products are in shared memory already.
template <bool SEALS>
static __device__ __forceinline__ uint4 pass(u8 *shared, const Expanded *key, bool at_hand, u32 bound_bytes, u32 cell, u64 slot,
                                             const u8 *from, u8 *to, u32 length) {
  if (!at_hand) lay_products(shared, key);
  uint4 round[15];
#pragma unroll
  for (u32 i = 0; i < 15; i++) round[i] = key->round[i];
  // It also waits until what the layer before has written is there.
  __syncthreads();
  u32 lane = (threadIdx.x & 31u) << 2, copy = (threadIdx.x & 7u) << 4;
  uint4 common = begun(shared, lane, round, make_uint4(cell, (u32)slot, (u32)(slot >> 32), 0));
  // The payload's blocks are numbered from 0, and the lengths' block is number `blocks`. The zero blocks in front have numbers
  // far above that, because they wrap.
  u32 blocks = (u32)(((u64)length + 15) / 16), turns = blocks / THREADS + 1;
  u32 i = threadIdx.x + blocks + 1 - turns * THREADS;
  uint4 hash = make_uint4(0, 0, 0, 0), stream = hash;
  for (u32 turn = 0; turn < turns; turn++, i += THREADS) {
    bool inside = i < blocks;
    u32 left = length - 16 * i;
    uint4 hashed = make_uint4(0, 0, 0, 0);
    if (inside) hashed = load(from + 16 * (u64)i, left);
    stream = encrypted(shared, lane, round, common, i == blocks ? 1 : i + 2);
    if (turn > 0) hash = stepped(shared, copy, hash);
    if (inside) {
      uint4 other = hashed ^ stream;
      if (left >= 16) {
        *(uint4 *)(to + 16 * (u64)i) = other;
      } else {
        other = cut(other, left);
        store_bytes(to + 16 * (u64)i, other, left);
      }
      if (SEALS) hashed = other;
    }
    if (i == blocks) {
      u64 bits = 8 * (u64)length;
      hashed = make_uint4(swapped(bound_bytes >> 29), swapped(bound_bytes << 3), swapped((u32)(bits >> 32)), swapped((u32)bits));
    }
    if (i == 0) hashed = hashed ^ key->bound;
    hash = hash ^ hashed;
  }
  hash = block_of(multiply(polynomial(hash), key->power[threadIdx.x]));
  return sum_of(shared, hash) ^ stream;
}

// Adds a cell's keystream to `length` bytes, which go to `to`, and to the `count` bytes behind them, which go to `behind`. All
// threads of the block must call it.
static __device__ __forceinline__ void add_stream(const u8 *shared, const Expanded *key, u32 cell, u64 slot, const u8 *from,
                                                  u8 *to, u32 length, u8 *behind, u32 count) {
  uint4 round[15];
#pragma unroll
  for (u32 i = 0; i < 15; i++) round[i] = key->round[i];
  u32 lane = (threadIdx.x & 31u) << 2;
  uint4 common = begun(shared, lane, round, make_uint4(cell, (u32)slot, (u32)(slot >> 32), 0));
  u32 blocks = (u32)(((u64)length + count + 15) / 16);
#pragma unroll 1
  for (u32 i = threadIdx.x; i < blocks; i += THREADS) {
    u32 here = length > 16 * i ? length - 16 * i : 0, left = length + count - 16 * i;
    uint4 sum = load(from + 16 * (u64)i, left) ^ encrypted(shared, lane, round, common, i + 2);
    if (here >= 16) {
      *(uint4 *)(to + 16 * (u64)i) = sum;
      continue;
    }
    u32 words[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
    for (u32 byte = 0; byte < 16; byte++) {
      u8 value = (u8)(words[byte >> 2] >> 8 * (byte & 3u));
      if (byte < here)
        to[16 * (u64)i + byte] = value;
      else if (byte < left)
        behind[16 * i + byte - length] = value;
    }
  }
}

// The message with this number: 0, 1 or 2.
static __device__ __forceinline__ u8 *message_of(u32 number, u8 *first, u8 *second, u8 *third) {
  return number == 0 ? first : number == 1 ? second : third;
}

// Seals `count` cells of `payload` bytes from three messages into `cells`. A block of threads takes `each` of them, one after
// the other.
extern "C" __launch_bounds__(256, 2) __global__ void aes_gcm_seal(
    const Expanded *keys, u32 bound_bytes, const SealJob *jobs, u32 count, u32 each, u64 slot, u32 payload, u8 *first, u8 *second,
    u8 *third, u8 *cells) {
  DYNAMIC_SHARED(u8, shared);
  lay_substitution(shared);
  u32 at_hand = NONE;
  for (u32 number = blockIdx.x * each; number < min(count, (blockIdx.x + 1) * each); number++) {
    const SealJob *job = jobs + number;
    u8 *to = cells + job->at.in_cells;
    const u8 *from = message_of(job->at.message, first, second, third) + job->at.in_message;
    u32 length = payload;
#pragma unroll 1
    for (u32 layer = 0; layer < job->layers; layer++) {
      u32 key = job->key[layer];
      uint4 tag = pass<true>(shared, keys + key, key == at_hand, bound_bytes, job->cell, slot, from, to, length);
      if (threadIdx.x == THREADS - 1) {
        if (length % 16 == 0)
          *(uint4 *)(to + length) = tag;
        else
          store_bytes(to + length, tag, 16);
      }
      at_hand = key;
      from = to;
      length += 16;
    }
  }
}

// Opens `count` cells of `sealed` bytes from `cells` into three messages. A block of threads takes `each` of them, one after
// the other. The plaintext of a cell that is not authentic becomes zeros, without a keystream. `bad` counts these cells; behind
// it there is a 1 for each of them.
extern "C" __launch_bounds__(256, 2) __global__ void aes_gcm_open(
    const Expanded *keys, u32 bound_bytes, const OpenJob *jobs, u32 count, u32 each, u64 slot, u32 sealed, u8 *first, u8 *second,
    u8 *third, u8 *cells, u32 *bad) {
  DYNAMIC_SHARED(u8, shared);
  __shared__ u32 differs;
  __shared__ uint4 found;
  lay_substitution(shared);
  // A keystream is looked up at once, so the tables must be complete. `pass` waits by itself.
  __syncthreads();
  u32 at_hand = NONE;
  u32 length = sealed - 16;
  for (u32 number = blockIdx.x * each; number < min(count, (blockIdx.x + 1) * each); number++) {
    const OpenJob *job = jobs + number;
    const u8 *from = cells + job->at.in_cells;
    u8 *to = message_of(job->at.message, first, second, third) + job->at.in_message;
    // Cells stay as they came. A cell whose keystream came off is written to where its plaintext will be.
    if (job->under != NONE) {
      add_stream(shared, keys + job->under, job->cell, slot, from, to, length, (u8 *)&found, 16);
      from = to;
    } else if (threadIdx.x < 16) {
      ((u8 *)&found)[threadIdx.x] = from[length + threadIdx.x];
    }
    uint4 tag = pass<false>(shared, keys + job->key, job->key == at_hand, bound_bytes, job->cell, slot, from, to, length);
    at_hand = job->key;
    if (threadIdx.x == THREADS - 1) {
      uint4 difference = found ^ tag;
      differs = difference.x | difference.y | difference.z | difference.w;
      if (differs) {
        atomicAdd(bad, 1u);
        bad[1 + number] = 1;
      }
    }
    __syncthreads();
    if (differs) {
      for (u32 i = threadIdx.x; i < length; i += THREADS) to[i] = 0;
    } else if (job->over != NONE) {
      add_stream(shared, keys + job->over, job->cell, slot, to, to, length, nullptr, 0);
    }
  }
}

// Expands a key of 32 bytes in each block of threads. A thread gets registers enough, because nobody would wipe what is
// spilled, which would be parts of keys.
extern "C" __launch_bounds__(256, 1) __global__ void aes_gcm_expand(const u32 *keys, const u8 *bound, u32 bound_bytes,
                                                                    Expanded *expanded) {
  DYNAMIC_SHARED(u8, shared);
  lay_substitution(shared);
  __syncthreads();
  u32 t = threadIdx.x, lane = (t & 31u) << 2;
  Expanded *key = expanded + blockIdx.x;
  // Every thread computes the whole key schedule (FIPS 197, 5.2).
  u32 words[60];
#pragma unroll
  for (u32 i = 0; i < 60; i++) {
    if (i < 8) {
      words[i] = keys[8 * blockIdx.x + i];
      continue;
    }
    u32 before = words[i - 1];
    if (i % 8 == 0) before = moved(substituted(shared, lane, before, before, before, before), 3) ^ 1u << (i / 8 - 1);
    if (i % 8 == 4) before = substituted(shared, lane, before, before, before, before);
    words[i] = words[i - 8] ^ before;
  }
  uint4 round[15];
#pragma unroll
  for (u32 i = 0; i < 15; i++) round[i] = make_uint4(words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]);
  uint4 zero = make_uint4(0, 0, 0, 0);
  ulonglong2 h = polynomial(encrypted(shared, lane, round, begun(shared, lane, round, zero), 0));
  // Thread t computes H^(256-t) by repeated squaring, from the highest bit of the exponent.
  ulonglong2 power = make_ulonglong2(1, 0);
#pragma unroll 1
  for (u32 bit = THREADS; bit > 0; bit >>= 1) {
    power = multiply(power, power);
    ulonglong2 more = multiply(power, h);
    if ((THREADS - t) & bit) power = more;
  }
  key->power[t] = power;
  // The first thread hands H^256 to the others, and hashes the associated data.
  if (t == 0) {
    *(ulonglong2 *)(shared + 128) = power;
#pragma unroll
    for (u32 i = 0; i < 15; i++) key->round[i] = round[i];
    ulonglong2 hash = make_ulonglong2(0, 0);
#pragma unroll 1
    for (u32 at = 0; at < bound_bytes; at += 16) {
      uint4 block = zero;
      u32 *words[4] = {&block.x, &block.y, &block.z, &block.w};
#pragma unroll
      for (u32 i = 0; i < 16; i++)
        if (at + i < bound_bytes) *words[i >> 2] |= (u32)bound[at + i] << 8 * (i & 3u);
      ulonglong2 next = polynomial(block);
      hash = multiply(make_ulonglong2(hash.x ^ next.x, hash.y ^ next.y), h);
    }
    key->bound = block_of(hash);
  }
  // Then all threads multiply each value of each nibble by H^256.
  __syncthreads();
  ulonglong2 step = *(const ulonglong2 *)(shared + 128);
#pragma unroll 1
  for (u32 i = t; i < 512; i += THREADS) {
    u32 n = i >> 4, word = (i & 15u) << (8 * (n >> 1 & 3u) + 4 * (n & 1u));
    u32 which = n >> 3;
    uint4 block = make_uint4(which == 0 ? word : 0, which == 1 ? word : 0, which == 2 ? word : 0, which == 3 ? word : 0);
    key->product[i] = block_of(multiply(polynomial(block), step));
  }
}
