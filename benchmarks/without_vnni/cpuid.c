/* Answers the cpuid instructions of a patched onnxruntime, and hides AVX512, VNNI and AMX.
 *
 * Every `cpuid` (0F A2) of the patched copy is `int3; nop` (CC 90). The trap lands here, with the
 * registers as cpuid would find them; after the return the program goes on as after a cpuid.
 * Written for LD_PRELOAD: the constructor installs the handler before onnxruntime is loaded.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <ucontext.h>

#define BIT(n) (1u << (n))

/* Leaf 7, subleaf 0. EBX: AVX512 F, DQ, IFMA, PF, ER, CD, BW, VL. */
#define AVX512_EBX \
  (BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31))
/* ECX: AVX512 VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ. */
#define AVX512_ECX (BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14))
/* EDX: AVX512 4VNNIW, 4FMAPS, VP2INTERSECT, FP16; AMX BF16, TILE, INT8. */
#define AVX512_AMX_EDX (BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25))
/* Leaf 7, subleaf 1. EAX: AVX-VNNI, AVX512 BF16, AMX-FP16, AVX-IFMA. */
#define VNNI_EAX (BIT(4) | BIT(5) | BIT(21) | BIT(23))
/* EDX: AVX-VNNI-INT8, AVX-NE-CONVERT, AMX-COMPLEX, AVX-VNNI-INT16, AVX10, APX. */
#define VNNI_EDX (BIT(4) | BIT(5) | BIT(8) | BIT(10) | BIT(19) | BIT(21))

static void answer(int signal_number, siginfo_t *info, void *context) {
  (void)signal_number;
  (void)info;
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  unsigned leaf = registers[REG_RAX], subleaf = registers[REG_RCX];
  unsigned eax, ebx, ecx, edx;
  __cpuid_count(leaf, subleaf, eax, ebx, ecx, edx);
  if (leaf == 7 && subleaf == 0) {
    ebx &= ~AVX512_EBX;
    ecx &= ~AVX512_ECX;
    edx &= ~AVX512_AMX_EDX;
  }
  if (leaf == 7 && subleaf == 1) {
    eax &= ~VNNI_EAX;
    edx &= ~VNNI_EDX;
  }
  registers[REG_RAX] = eax;
  registers[REG_RBX] = ebx;
  registers[REG_RCX] = ecx;
  registers[REG_RDX] = edx;
}

__attribute__((constructor)) static void install(void) {
  struct sigaction action = {0};
  action.sa_sigaction = answer;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGTRAP, &action, 0);
}
