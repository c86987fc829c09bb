// AVX-512: tiles of up to 8 rows and 48 columns.

#include "textflag.h"
#include "go_asm.h"

// Row r of the tile is summed in Z(3r), Z(3r+1), Z(3r+2). A row of B is in
// Z24-Z26, an element of A in Z30. Row r of A is at SI + r*R8; R9, R10 and R11
// are 3, 5 and 7 times R8.

#define FMA1(a, c0) \
	VBROADCASTSS a, Z30; \
	VFMADD231PS  Z24, Z30, c0

#define FMA2(a, c0, c1) \
	FMA1(a, c0); \
	VFMADD231PS Z25, Z30, c1

#define FMA3(a, c0, c1, c2) \
	FMA2(a, c0, c1); \
	VFMADD231PS Z26, Z30, c2

#define LOADB1 VMOVUPS (DI), Z24
#define LOADB2 LOADB1; VMOVUPS 64(DI), Z25
#define LOADB3 LOADB2; VMOVUPS 128(DI), Z26

#define NEXT(loop) \
	ADDQ R12, SI; \
	ADDQ R13, DI; \
	DECQ CX;      \
	JNZ  loop;    \
	JMP  finish

#define SCALE(c0, c1, c2) \
	VMULPS Z24, c0, c0; \
	VMULPS Z24, c1, c1; \
	VMULPS Z24, c2, c2

#define ADDC(c0, c1, c2, done) \
	VFMADD231PS (R8), Z24, K1, c0;    \
	VFMADD231PS 64(R8), Z24, K2, c1;  \
	VFMADD231PS 128(R8), Z24, K3, c2; \
	ADDQ        BX, R8;               \
	DECQ        CX;                   \
	JZ          done

#define ADDBIAS(c0, c1, c2) \
	VADDPS Z24, c0, c0; \
	VADDPS Z25, c1, c1; \
	VADDPS Z26, c2, c2

#define STORE(c0, c1, c2) \
	VMOVUPS c0, K1, (DX);    \
	VMOVUPS c1, K2, 64(DX);  \
	VMOVUPS c2, K3, 128(DX); \
	ADDQ    BX, DX;          \
	DECQ    R9;              \
	JZ      return

#define ZERO(c0, c1, c2) \
	VPXORD c0, c0, c0; \
	VPXORD c1, c1, c1; \
	VPXORD c2, c2, c2

// func mulAVX512(t *tile)
TEXT ·mulAVX512(SB), NOSPLIT, $0-8
	MOVQ t+0(FP), AX
	MOVQ tile_c(AX), DX
	MOVQ tile_cRow(AX), BX
	MOVQ tile_a(AX), SI
	MOVQ tile_aRow(AX), R8
	MOVQ tile_aStep(AX), R12
	MOVQ tile_bStep(AX), R13
	LEAQ (R8)(R8*2), R9
	LEAQ (R8)(R8*4), R10
	LEAQ (R9)(R8*4), R11
	ZERO(Z0, Z1, Z2)
	ZERO(Z3, Z4, Z5)
	ZERO(Z6, Z7, Z8)
	ZERO(Z9, Z10, Z11)
	ZERO(Z12, Z13, Z14)
	ZERO(Z15, Z16, Z17)
	ZERO(Z18, Z19, Z20)
	ZERO(Z21, Z22, Z23)
	MOVQ  tile_cols(AX), CX // K1-K3 select the columns
	MOVQ  $-1, R15
	SHLQ  CX, R15
	NOTQ  R15
	KMOVW R15, K1
	SHRQ  $16, R15
	KMOVW R15, K2
	SHRQ  $16, R15
	KMOVW R15, K3
	MOVQ  tile_rows(AX), R15
	MOVQ  DX, DI
	MOVQ  R15, CX

fetch: // C, for later
	PREFETCHT0 (DI)
	PREFETCHT0 64(DI)
	PREFETCHT0 128(DI)
	ADDQ       BX, DI
	DECQ       CX
	JNZ        fetch
	MOVQ       tile_b(AX), DI
	MOVQ       tile_k(AX), CX
	TESTQ      CX, CX
	JZ         finish
	CMPQ  tile_vecs(AX), $2
	JB    one
	JE    two

	CMPQ R15, $8
	JEQ  loop8x3
	CMPQ R15, $4
	JEQ  loop4x3
	CMPQ R15, $2
	JEQ  loop2x3

loop1x3:
	LOADB3
	FMA3((SI), Z0, Z1, Z2)
	NEXT(loop1x3)

	PCALIGN $32
loop8x3:
	LOADB3
	FMA3((SI), Z0, Z1, Z2)
	FMA3((SI)(R8*1), Z3, Z4, Z5)
	FMA3((SI)(R8*2), Z6, Z7, Z8)
	FMA3((SI)(R9*1), Z9, Z10, Z11)
	FMA3((SI)(R8*4), Z12, Z13, Z14)
	FMA3((SI)(R10*1), Z15, Z16, Z17)
	FMA3((SI)(R9*2), Z18, Z19, Z20)
	FMA3((SI)(R11*1), Z21, Z22, Z23)
	NEXT(loop8x3)

	PCALIGN $32
loop4x3:
	LOADB3
	FMA3((SI), Z0, Z1, Z2)
	FMA3((SI)(R8*1), Z3, Z4, Z5)
	FMA3((SI)(R8*2), Z6, Z7, Z8)
	FMA3((SI)(R9*1), Z9, Z10, Z11)
	NEXT(loop4x3)

	PCALIGN $32
loop2x3:
	LOADB3
	FMA3((SI), Z0, Z1, Z2)
	FMA3((SI)(R8*1), Z3, Z4, Z5)
	NEXT(loop2x3)

two:
	CMPQ R15, $8
	JEQ  loop8x2
	CMPQ R15, $4
	JEQ  loop4x2
	CMPQ R15, $2
	JEQ  loop2x2

loop1x2:
	LOADB2
	FMA2((SI), Z0, Z1)
	NEXT(loop1x2)

	PCALIGN $32
loop8x2:
	LOADB2
	FMA2((SI), Z0, Z1)
	FMA2((SI)(R8*1), Z3, Z4)
	FMA2((SI)(R8*2), Z6, Z7)
	FMA2((SI)(R9*1), Z9, Z10)
	FMA2((SI)(R8*4), Z12, Z13)
	FMA2((SI)(R10*1), Z15, Z16)
	FMA2((SI)(R9*2), Z18, Z19)
	FMA2((SI)(R11*1), Z21, Z22)
	NEXT(loop8x2)

	PCALIGN $32
loop4x2:
	LOADB2
	FMA2((SI), Z0, Z1)
	FMA2((SI)(R8*1), Z3, Z4)
	FMA2((SI)(R8*2), Z6, Z7)
	FMA2((SI)(R9*1), Z9, Z10)
	NEXT(loop4x2)

	PCALIGN $32
loop2x2:
	LOADB2
	FMA2((SI), Z0, Z1)
	FMA2((SI)(R8*1), Z3, Z4)
	NEXT(loop2x2)

one:
	CMPQ R15, $8
	JEQ  loop8x1
	CMPQ R15, $4
	JEQ  loop4x1
	CMPQ R15, $2
	JEQ  loop2x1

loop1x1:
	LOADB1
	FMA1((SI), Z0)
	NEXT(loop1x1)

	PCALIGN $32
loop8x1:
	LOADB1
	FMA1((SI), Z0)
	FMA1((SI)(R8*1), Z3)
	FMA1((SI)(R8*2), Z6)
	FMA1((SI)(R9*1), Z9)
	FMA1((SI)(R8*4), Z12)
	FMA1((SI)(R10*1), Z15)
	FMA1((SI)(R9*2), Z18)
	FMA1((SI)(R11*1), Z21)
	NEXT(loop8x1)

	PCALIGN $32
loop4x1:
	LOADB1
	FMA1((SI), Z0)
	FMA1((SI)(R8*1), Z3)
	FMA1((SI)(R8*2), Z6)
	FMA1((SI)(R9*1), Z9)
	NEXT(loop4x1)

	PCALIGN $32
loop2x1:
	LOADB1
	FMA1((SI), Z0)
	FMA1((SI)(R8*1), Z3)
	NEXT(loop2x1)

finish:
	VBROADCASTSS tile_alpha(AX), Z24
	SCALE(Z0, Z1, Z2)
	SCALE(Z3, Z4, Z5)
	SCALE(Z6, Z7, Z8)
	SCALE(Z9, Z10, Z11)
	SCALE(Z12, Z13, Z14)
	SCALE(Z15, Z16, Z17)
	SCALE(Z18, Z19, Z20)
	SCALE(Z21, Z22, Z23)

	VBROADCASTSS tile_beta(AX), Z24
	VPTESTMD     Z24, Z24, K4
	KTESTW       K4, K4 // zero (+0) beta: C is not read
	JZ           bias
	MOVQ         DX, R8
	MOVQ         tile_rows(AX), CX
	ADDC(Z0, Z1, Z2, bias)
	ADDC(Z3, Z4, Z5, bias)
	ADDC(Z6, Z7, Z8, bias)
	ADDC(Z9, Z10, Z11, bias)
	ADDC(Z12, Z13, Z14, bias)
	ADDC(Z15, Z16, Z17, bias)
	ADDC(Z18, Z19, Z20, bias)
	ADDC(Z21, Z22, Z23, bias)

bias:
	MOVQ      tile_bias(AX), R8
	TESTQ     R8, R8
	JZ        store
	VMOVUPS.Z (R8), K1, Z24
	VMOVUPS.Z 64(R8), K2, Z25
	VMOVUPS.Z 128(R8), K3, Z26
	ADDBIAS(Z0, Z1, Z2)
	ADDBIAS(Z3, Z4, Z5)
	ADDBIAS(Z6, Z7, Z8)
	ADDBIAS(Z9, Z10, Z11)
	ADDBIAS(Z12, Z13, Z14)
	ADDBIAS(Z15, Z16, Z17)
	ADDBIAS(Z18, Z19, Z20)
	ADDBIAS(Z21, Z22, Z23)

store:
	MOVQ tile_rows(AX), R9
	STORE(Z0, Z1, Z2)
	STORE(Z3, Z4, Z5)
	STORE(Z6, Z7, Z8)
	STORE(Z9, Z10, Z11)
	STORE(Z12, Z13, Z14)
	STORE(Z15, Z16, Z17)
	STORE(Z18, Z19, Z20)
	STORE(Z21, Z22, Z23)

return:
	VZEROUPPER
	RET

// LOADROW loads 16 elements of row r of the source at SI.
#define LOADROW(r, z) \
	MOVQ    (8*r)(R8), AX; \
	VMOVUPS (SI)(AX*1), z

// PAIRS interleaves two rows: lo has the elements 0 and 1, hi 2 and 3 of each
// 128-bit lane.
#define PAIRS(a, b, lo, hi) \
	VUNPCKLPS b, a, lo; \
	VUNPCKHPS b, a, hi

// QUADS makes, from the PAIRS of four rows, c0-c3: lane L of ci holds the four
// rows' elements of column 4L+i.
#define QUADS(lo0, hi0, lo1, hi1, c0, c1, c2, c3) \
	VUNPCKLPD lo1, lo0, c0; \
	VUNPCKHPD lo1, lo0, c1; \
	VUNPCKLPD hi1, hi0, c2; \
	VUNPCKHPD hi1, hi0, c3

// COLUMNS gathers the columns i, 4+i, 8+i and 12+i from the four quads of i, and
// stores them at R10, which moves on to the next i.
#define COLUMNS(q0, q1, q2, q3) \
	VSHUFF32X4 $0x88, q1, q0, Z16;   \
	VSHUFF32X4 $0xDD, q1, q0, Z17;   \
	VSHUFF32X4 $0x88, q3, q2, Z18;   \
	VSHUFF32X4 $0xDD, q3, q2, Z19;   \
	VSHUFF32X4 $0x88, Z18, Z16, Z20; \
	VSHUFF32X4 $0x88, Z19, Z17, Z21; \
	VSHUFF32X4 $0xDD, Z18, Z16, Z22; \
	VSHUFF32X4 $0xDD, Z19, Z17, Z23; \
	VMOVUPS    Z20, (R10);           \
	VMOVUPS    Z21, (R10)(R11*1);    \
	VMOVUPS    Z22, (R10)(R11*2);    \
	VMOVUPS    Z23, (R10)(R12*1);    \
	ADDQ       BX, R10

// func transposeAVX512(dst *float32, dstStep int, src *float32, rows *[16]int, blocks int)
TEXT ·transposeAVX512(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ dstStep+8(FP), BX
	MOVQ src+16(FP), SI
	MOVQ rows+24(FP), R8
	MOVQ blocks+32(FP), CX
	LEAQ (BX*4), R11
	LEAQ (R11)(R11*2), R12

block:
	LOADROW(0, Z0)
	LOADROW(1, Z1)
	LOADROW(2, Z2)
	LOADROW(3, Z3)
	LOADROW(4, Z4)
	LOADROW(5, Z5)
	LOADROW(6, Z6)
	LOADROW(7, Z7)
	LOADROW(8, Z8)
	LOADROW(9, Z9)
	LOADROW(10, Z10)
	LOADROW(11, Z11)
	LOADROW(12, Z12)
	LOADROW(13, Z13)
	LOADROW(14, Z14)
	LOADROW(15, Z15)
	PAIRS(Z0, Z1, Z16, Z17)
	PAIRS(Z2, Z3, Z18, Z19)
	PAIRS(Z4, Z5, Z20, Z21)
	PAIRS(Z6, Z7, Z22, Z23)
	PAIRS(Z8, Z9, Z24, Z25)
	PAIRS(Z10, Z11, Z26, Z27)
	PAIRS(Z12, Z13, Z28, Z29)
	PAIRS(Z14, Z15, Z30, Z31)
	QUADS(Z16, Z17, Z18, Z19, Z0, Z1, Z2, Z3)
	QUADS(Z20, Z21, Z22, Z23, Z4, Z5, Z6, Z7)
	QUADS(Z24, Z25, Z26, Z27, Z8, Z9, Z10, Z11)
	QUADS(Z28, Z29, Z30, Z31, Z12, Z13, Z14, Z15)
	MOVQ DI, R10
	COLUMNS(Z0, Z4, Z8, Z12)
	COLUMNS(Z1, Z5, Z9, Z13)
	COLUMNS(Z2, Z6, Z10, Z14)
	COLUMNS(Z3, Z7, Z11, Z15)
	ADDQ $64, SI
	LEAQ (DI)(R11*4), DI
	DECQ CX
	JNZ  block
	VZEROUPPER
	RET

// func widenBF16AVX512(dst *float32, src *uint16, n int)
TEXT ·widenBF16AVX512(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

bf16:
	VPMOVZXWD (SI), Z0
	VPSLLD    $16, Z0, Z0
	VMOVUPS   Z0, (DI)
	ADDQ      $32, SI
	ADDQ      $64, DI
	SUBQ      $16, CX
	JNZ       bf16
	VZEROUPPER
	RET

// func widenF16AVX512(dst *float32, src *uint16, n int)
TEXT ·widenF16AVX512(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

f16:
	VCVTPH2PS (SI), Z0
	VMOVUPS   Z0, (DI)
	ADDQ      $32, SI
	ADDQ      $64, DI
	SUBQ      $16, CX
	JNZ       f16
	VZEROUPPER
	RET

// func widenNF4AVX512(dst *float32, src *byte, n int, levels *[16]float32, scale float32)
TEXT ·widenNF4AVX512(SB), NOSPLIT, $0-36
	MOVQ         dst+0(FP), DI
	MOVQ         src+8(FP), SI
	MOVQ         n+16(FP), CX
	MOVQ         levels+24(FP), AX
	VBROADCASTSS scale+32(FP), Z1
	VMULPS       (AX), Z1, Z1 // the 16 values of this block

	// A byte in a 64-bit lane becomes its high nibble in the lower half and, in the
	// upper half, itself, of which the lookup takes the low nibble.
nf4:
	VPMOVZXBQ (SI), Z2
	VPSRLQ    $4, Z2, Z3
	VPSLLQ    $32, Z2, Z2
	VPORQ     Z3, Z2, Z2
	VPERMPS   Z1, Z2, Z2
	VMOVUPS   Z2, (DI)
	ADDQ      $8, SI
	ADDQ      $64, DI
	SUBQ      $16, CX
	JNZ       nf4
	VZEROUPPER
	RET
