// The loops of vector_amd64.h with AVX2 and FMA: 8 elements a register.

#include "textflag.h"
#include "go_asm.h"

#define W 8

#define V0 Y0
#define V1 Y1
#define V2 Y2
#define V3 Y3
#define V4 Y4
#define V5 Y5
#define V6 Y6
#define V7 Y7
#define V8 Y8
#define V9 Y9
#define V10 Y10
#define V11 Y11
#define V12 Y12
#define V13 Y13
#define V14 Y14

// The lanes in use in the last round: the sign bits of Y15.
#define SETMASK \
	LEAQ    masks<>+32(SB), AX; \
	SHLQ    $2, CX;             \
	SUBQ    CX, AX;             \
	VMOVUPS (AX), Y15

#define LOAD(from, v) VMOVUPS from, v
#define STORE(v, to) VMOVUPS v, to
#define LOADPART(from, v) VMASKMOVPS from, Y15, v
#define STOREPART(v, to) VMASKMOVPS v, Y15, to
#define ZEROREST(v) VANDPS Y15, v, v
#define MAXPART(v, top) \
	VBLENDVPS Y15, v, top, v; \
	VMAXPS    v, top, top

#define FOLD(op)

// The lanes where x is not below the bound, a NaN among them: Y11.
#define ATLEAST(bound, x) VCMPPS $5, bound, x, Y11
#define OTHERSZERO(v) VANDPS Y11, v, v

// The constants of EXP.
#define EXPHI Y13
#define EXPLO Y14
#define LOG2E log2e<>(SB)
#define MAGIC expMagic<>(SB)
#define LN2HI ln2Hi<>(SB)
#define LN2LO ln2Lo<>(SB)
#define EXP7 exp7<>(SB)
#define EXP6 exp6<>(SB)
#define EXP5 exp5<>(SB)
#define EXP4 exp4<>(SB)
#define EXP3 exp3<>(SB)
#define HALF half<>(SB)
#define ONE one<>(SB)

#define EXPCONSTANTS \
	VMOVUPS expHi<>(SB), EXPHI; \
	VMOVUPS expLo<>(SB), EXPLO

// 8 words of ones, then 8 of zeros.
DATA masks<>+0(SB)/8, $-1
DATA masks<>+8(SB)/8, $-1
DATA masks<>+16(SB)/8, $-1
DATA masks<>+24(SB)/8, $-1
GLOBL masks<>(SB), RODATA|NOPTR, $64

#define ADD ·addAVX2(SB)
#define MULTIPLY ·multiplyAVX2(SB)
#define SCALE ·scaleAVX2(SB)
#define AXPY ·axpyAVX2(SB)
#define DOT ·dotAVX2(SB)
#define SUM ·sumAVX2(SB)
#define SUMSQ ·sumSqAVX2(SB)
#define MAX ·maxAVX2(SB)
#define EXPSUM ·expAVX2(SB)
#define SOFTCAP ·softcapAVX2(SB)
#define SOFTCAPGRAD ·softcapGradAVX2(SB)
#define SOFTMAXGRAD ·softmaxGradAVX2(SB)
#define SILU ·siluAVX2(SB)
#define GELUTANH ·geluTanhAVX2(SB)
#define GELU ·geluAVX2(SB)
#define RELU ·reluAVX2(SB)
#define NORMALIZE ·normalizeAVX2(SB)
#define NORMSUMS ·normSumsAVX2(SB)
#define NORMGRAD ·normGradAVX2(SB)
#define ROTATE ·rotateAVX2(SB)
#define RANDOM ·randomAVX2(SB)
#define DROPOUT ·dropoutAVX2(SB)
#define DROPOUTADD ·dropoutAddAVX2(SB)
#define ADAMW ·adamWAVX2(SB)

#include "vector_amd64.h"

DATA laneCounters<>+0(SB)/8, $0
DATA laneCounters<>+8(SB)/8, $2
DATA laneCounters<>+16(SB)/8, $1
DATA laneCounters<>+24(SB)/8, $3
GLOBL laneCounters<>(SB), RODATA|NOPTR, $32

CONST(laneStep<>, $4)
