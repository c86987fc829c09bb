// AVX2, FMA and F16C: tiles of up to 4 rows and 24 columns.

#include "textflag.h"
#include "go_asm.h"

// Row r of the tile is summed in Y(3r), Y(3r+1), Y(3r+2). A row of B is in
// Y12-Y14, an element of A in Y15. Row r of A is at SI + r*R8; R9 is 3 times R8.

#define FMA1(a, c0) \
	VBROADCASTSS a, Y15; \
	VFMADD231PS  Y12, Y15, c0

#define FMA2(a, c0, c1) \
	FMA1(a, c0); \
	VFMADD231PS Y13, Y15, c1

#define FMA3(a, c0, c1, c2) \
	FMA2(a, c0, c1); \
	VFMADD231PS Y14, Y15, c2

#define LOADB1 VMOVUPS (DI), Y12
#define LOADB2 LOADB1; VMOVUPS 32(DI), Y13
#define LOADB3 LOADB2; VMOVUPS 64(DI), Y14

#define NEXT(loop) \
	ADDQ R12, SI; \
	ADDQ R13, DI; \
	DECQ CX;      \
	JNZ  loop;    \
	JMP  finish

#define SCALE(c0, c1, c2) \
	VMULPS Y12, c0, c0; \
	VMULPS Y12, c1, c1; \
	VMULPS Y12, c2, c2

#define ADDC(c0, c1, c2, done) \
	VFMADD231PS (R8), Y12, c0;   \
	VFMADD231PS 32(R8), Y12, c1; \
	VFMADD231PS 64(R8), Y12, c2; \
	ADDQ        BX, R8;          \
	DECQ        CX;              \
	JZ          done

#define ADDBIAS(c0, c1, c2) \
	VADDPS Y12, c0, c0; \
	VADDPS Y13, c1, c1; \
	VADDPS Y14, c2, c2

#define STORE(c0, c1, c2) \
	VMOVUPS c0, (DX);   \
	VMOVUPS c1, 32(DX); \
	VMOVUPS c2, 64(DX); \
	ADDQ    BX, DX;     \
	DECQ    R9;         \
	JZ      return

// The same for a tile that is not full, where R10 points to the masks of its
// columns.

#define LOADMASKED(from, mask, to) \
	VMOVUPS    mask, to; \
	VMASKMOVPS from, to, to

#define ADDCMASKED(c0, c1, c2, done) \
	LOADMASKED((R8), (R10), Y13);     \
	VFMADD231PS Y13, Y12, c0;         \
	LOADMASKED(32(R8), 32(R10), Y14); \
	VFMADD231PS Y14, Y12, c1;         \
	LOADMASKED(64(R8), 64(R10), Y15); \
	VFMADD231PS Y15, Y12, c2;         \
	ADDQ        BX, R8;               \
	DECQ        CX;                   \
	JZ          done

#define STOREMASKED(c0, c1, c2) \
	VMASKMOVPS c0, Y12, (DX);   \
	VMASKMOVPS c1, Y13, 32(DX); \
	VMASKMOVPS c2, Y14, 64(DX); \
	ADDQ       BX, DX;          \
	DECQ       R9;              \
	JZ         return

#define ZERO(c0, c1, c2) \
	VXORPS c0, c0, c0; \
	VXORPS c1, c1, c1; \
	VXORPS c2, c2, c2

// masks is 24 words of ones and 24 of zeros: the masks of a tile of cols columns
// start at word 24 - cols.
DATA masks<>+0(SB)/8, $-1
DATA masks<>+8(SB)/8, $-1
DATA masks<>+16(SB)/8, $-1
DATA masks<>+24(SB)/8, $-1
DATA masks<>+32(SB)/8, $-1
DATA masks<>+40(SB)/8, $-1
DATA masks<>+48(SB)/8, $-1
DATA masks<>+56(SB)/8, $-1
DATA masks<>+64(SB)/8, $-1
DATA masks<>+72(SB)/8, $-1
DATA masks<>+80(SB)/8, $-1
DATA masks<>+88(SB)/8, $-1
GLOBL masks<>(SB), RODATA|NOPTR, $192

// func mulAVX2(t *tile)
TEXT ·mulAVX2(SB), NOSPLIT, $0-8
	MOVQ t+0(FP), AX
	MOVQ tile_c(AX), DX
	MOVQ tile_cRow(AX), BX
	MOVQ tile_a(AX), SI
	MOVQ tile_aRow(AX), R8
	MOVQ tile_aStep(AX), R12
	MOVQ tile_bStep(AX), R13
	LEAQ (R8)(R8*2), R9
	ZERO(Y0, Y1, Y2)
	ZERO(Y3, Y4, Y5)
	ZERO(Y6, Y7, Y8)
	ZERO(Y9, Y10, Y11)
	MOVQ  tile_rows(AX), R10
	MOVQ  DX, DI
	MOVQ  R10, CX

fetch: // C, for later
	PREFETCHT0 (DI)
	PREFETCHT0 64(DI)
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

	CMPQ R10, $4
	JEQ  loop4x3
	CMPQ R10, $2
	JEQ  loop2x3

loop1x3:
	LOADB3
	FMA3((SI), Y0, Y1, Y2)
	NEXT(loop1x3)

	PCALIGN $32
loop4x3:
	LOADB3
	FMA3((SI), Y0, Y1, Y2)
	FMA3((SI)(R8*1), Y3, Y4, Y5)
	FMA3((SI)(R8*2), Y6, Y7, Y8)
	FMA3((SI)(R9*1), Y9, Y10, Y11)
	NEXT(loop4x3)

	PCALIGN $32
loop2x3:
	LOADB3
	FMA3((SI), Y0, Y1, Y2)
	FMA3((SI)(R8*1), Y3, Y4, Y5)
	NEXT(loop2x3)

two:
	CMPQ R10, $4
	JEQ  loop4x2
	CMPQ R10, $2
	JEQ  loop2x2

loop1x2:
	LOADB2
	FMA2((SI), Y0, Y1)
	NEXT(loop1x2)

	PCALIGN $32
loop4x2:
	LOADB2
	FMA2((SI), Y0, Y1)
	FMA2((SI)(R8*1), Y3, Y4)
	FMA2((SI)(R8*2), Y6, Y7)
	FMA2((SI)(R9*1), Y9, Y10)
	NEXT(loop4x2)

	PCALIGN $32
loop2x2:
	LOADB2
	FMA2((SI), Y0, Y1)
	FMA2((SI)(R8*1), Y3, Y4)
	NEXT(loop2x2)

one:
	CMPQ R10, $4
	JEQ  loop4x1
	CMPQ R10, $2
	JEQ  loop2x1

loop1x1:
	LOADB1
	FMA1((SI), Y0)
	NEXT(loop1x1)

	PCALIGN $32
loop4x1:
	LOADB1
	FMA1((SI), Y0)
	FMA1((SI)(R8*1), Y3)
	FMA1((SI)(R8*2), Y6)
	FMA1((SI)(R9*1), Y9)
	NEXT(loop4x1)

	PCALIGN $32
loop2x1:
	LOADB1
	FMA1((SI), Y0)
	FMA1((SI)(R8*1), Y3)
	NEXT(loop2x1)

finish:
	VBROADCASTSS tile_alpha(AX), Y12
	SCALE(Y0, Y1, Y2)
	SCALE(Y3, Y4, Y5)
	SCALE(Y6, Y7, Y8)
	SCALE(Y9, Y10, Y11)
	MOVQ         tile_rows(AX), R9
	MOVQ         R9, CX
	MOVQ         DX, R8
	MOVQ         tile_bias(AX), R11
	MOVL         tile_beta(AX), R12
	VBROADCASTSS tile_beta(AX), Y12
	MOVQ         tile_cols(AX), R13
	CMPQ         R13, $24
	JNE          masked

	TESTL R12, R12 // beta 0: C is not read
	JZ    bias
	ADDC(Y0, Y1, Y2, bias)
	ADDC(Y3, Y4, Y5, bias)
	ADDC(Y6, Y7, Y8, bias)
	ADDC(Y9, Y10, Y11, bias)

bias:
	TESTQ   R11, R11
	JZ      store
	VMOVUPS (R11), Y12
	VMOVUPS 32(R11), Y13
	VMOVUPS 64(R11), Y14
	ADDBIAS(Y0, Y1, Y2)
	ADDBIAS(Y3, Y4, Y5)
	ADDBIAS(Y6, Y7, Y8)
	ADDBIAS(Y9, Y10, Y11)

store:
	STORE(Y0, Y1, Y2)
	STORE(Y3, Y4, Y5)
	STORE(Y6, Y7, Y8)
	STORE(Y9, Y10, Y11)

masked:
	LEAQ  masks<>+96(SB), R10
	SHLQ  $2, R13
	SUBQ  R13, R10
	TESTL R12, R12
	JZ    biasmasked
	ADDCMASKED(Y0, Y1, Y2, biasmasked)
	ADDCMASKED(Y3, Y4, Y5, biasmasked)
	ADDCMASKED(Y6, Y7, Y8, biasmasked)
	ADDCMASKED(Y9, Y10, Y11, biasmasked)

biasmasked:
	TESTQ R11, R11
	JZ    storemasked
	LOADMASKED((R11), (R10), Y12)
	LOADMASKED(32(R11), 32(R10), Y13)
	LOADMASKED(64(R11), 64(R10), Y14)
	ADDBIAS(Y0, Y1, Y2)
	ADDBIAS(Y3, Y4, Y5)
	ADDBIAS(Y6, Y7, Y8)
	ADDBIAS(Y9, Y10, Y11)

storemasked:
	VMOVUPS (R10), Y12
	VMOVUPS 32(R10), Y13
	VMOVUPS 64(R10), Y14
	STOREMASKED(Y0, Y1, Y2)
	STOREMASKED(Y3, Y4, Y5)
	STOREMASKED(Y6, Y7, Y8)
	STOREMASKED(Y9, Y10, Y11)

return:
	VZEROUPPER
	RET

// LOADROW loads 8 elements of row r of the source at SI.
#define LOADROW(r, y) \
	MOVQ    (8*r)(R8), AX; \
	VMOVUPS (SI)(AX*1), y

// PAIRS and QUADS as for AVX-512, with two lanes.
#define PAIRS(a, b, lo, hi) \
	VUNPCKLPS b, a, lo; \
	VUNPCKHPS b, a, hi

#define QUADS(lo0, hi0, lo1, hi1, c0, c1, c2, c3) \
	VUNPCKLPD lo1, lo0, c0; \
	VUNPCKHPD lo1, lo0, c1; \
	VUNPCKLPD hi1, hi0, c2; \
	VUNPCKHPD hi1, hi0, c3

// COLUMNS stores the columns i and 4+i from the two quads of i.
#define COLUMNS(q0, q1) \
	VPERM2F128 $0x20, q1, q0, Y8;  \
	VPERM2F128 $0x31, q1, q0, Y9;  \
	VMOVUPS    Y8, (R10);          \
	VMOVUPS    Y9, (R10)(R11*1);   \
	ADDQ       BX, R10

// func transposeAVX2(dst *float32, dstStep int, src *float32, rows *[16]int, blocks int)
TEXT ·transposeAVX2(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ dstStep+8(FP), BX
	MOVQ src+16(FP), SI
	MOVQ rows+24(FP), R8
	MOVQ blocks+32(FP), CX
	LEAQ (BX*4), R11

block:
	LOADROW(0, Y0)
	LOADROW(1, Y1)
	LOADROW(2, Y2)
	LOADROW(3, Y3)
	LOADROW(4, Y4)
	LOADROW(5, Y5)
	LOADROW(6, Y6)
	LOADROW(7, Y7)
	PAIRS(Y0, Y1, Y8, Y9)
	PAIRS(Y2, Y3, Y10, Y11)
	PAIRS(Y4, Y5, Y12, Y13)
	PAIRS(Y6, Y7, Y14, Y15)
	QUADS(Y8, Y9, Y10, Y11, Y0, Y1, Y2, Y3)
	QUADS(Y12, Y13, Y14, Y15, Y4, Y5, Y6, Y7)
	MOVQ DI, R10
	COLUMNS(Y0, Y4)
	COLUMNS(Y1, Y5)
	COLUMNS(Y2, Y6)
	COLUMNS(Y3, Y7)
	ADDQ $32, SI
	LEAQ (DI)(R11*2), DI
	DECQ CX
	JNZ  block
	VZEROUPPER
	RET

// func spreadAVX2(dst, src *float32, rows, srcStep, panels, panelBytes, panelStep int)
TEXT ·spreadAVX2(SB), NOSPLIT, $0-56
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ rows+16(FP), CX
	MOVQ srcStep+24(FP), R8
	MOVQ panelBytes+40(FP), R10
	MOVQ panelStep+48(FP), R11

row:
	MOVQ SI, AX
	MOVQ DI, BX
	MOVQ panels+32(FP), R9

panel:
	XORL DX, DX

vector:
	VMOVUPS (AX)(DX*1), Y0
	VMOVUPS Y0, (BX)(DX*1)
	ADDQ    $32, DX
	CMPQ    DX, R10
	JB      vector
	ADDQ    R10, AX
	ADDQ    R11, BX
	DECQ    R9
	JNZ     panel
	ADDQ    R8, SI
	ADDQ    R10, DI
	DECQ    CX
	JNZ     row
	VZEROUPPER
	RET

// func widenBF16AVX2(dst *float32, src *uint16, n int)
TEXT ·widenBF16AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

bf16:
	VPMOVZXWD (SI), Y0
	VPMOVZXWD 16(SI), Y1
	VPSLLD    $16, Y0, Y0
	VPSLLD    $16, Y1, Y1
	VMOVUPS   Y0, (DI)
	VMOVUPS   Y1, 32(DI)
	ADDQ      $32, SI
	ADDQ      $64, DI
	SUBQ      $16, CX
	JNZ       bf16
	VZEROUPPER
	RET

// func widenF16AVX2(dst *float32, src *uint16, n int)
TEXT ·widenF16AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

f16:
	VCVTPH2PS (SI), Y0
	VCVTPH2PS 16(SI), Y1
	VMOVUPS   Y0, (DI)
	VMOVUPS   Y1, 32(DI)
	ADDQ      $32, SI
	ADDQ      $64, DI
	SUBQ      $16, CX
	JNZ       f16
	VZEROUPPER
	RET

// NF4CODES turns the 4 bytes at from into 8 codes: a byte in a 64-bit lane becomes
// its high nibble in the lower half and itself in the upper half. The lookup takes
// three bits; the fourth, moved to the sign, chooses between the two tables.
#define NF4CODES(from, y) \
	VPMOVZXBQ from, y;         \
	VPSRLQ    $4, y, Y7;       \
	VPSLLQ    $32, y, y;       \
	VPOR      Y7, y, y;        \
	VPERMPS   Y1, y, Y5;       \
	VPERMPS   Y2, y, Y6;       \
	VPSLLD    $28, y, y;       \
	VBLENDVPS y, Y6, Y5, y

// func widenNF4AVX2(dst *float32, src *byte, n int, levels *[16]float32, scale float32)
TEXT ·widenNF4AVX2(SB), NOSPLIT, $0-36
	MOVQ         dst+0(FP), DI
	MOVQ         src+8(FP), SI
	MOVQ         n+16(FP), CX
	MOVQ         levels+24(FP), AX
	VBROADCASTSS scale+32(FP), Y2
	VMULPS       (AX), Y2, Y1 // the 16 values of this block
	VMULPS       32(AX), Y2, Y2

nf4:
	NF4CODES((SI), Y3)
	NF4CODES(4(SI), Y4)
	VMOVUPS Y3, (DI)
	VMOVUPS Y4, 32(DI)
	ADDQ    $8, SI
	ADDQ    $64, DI
	SUBQ    $16, CX
	JNZ     nf4
	VZEROUPPER
	RET
