/* Counts the guest's instructions between marks, leaving out what idles or spins.
 *
 * A guest marks with a no-operation whose displacement says so: 0f 1f 84 00 NN 'M' 'B' KK, where NN is the number of the
 * region and KK is 1 at its beginning and 0 at its end. At the end of the run one line per region says how often it was
 * entered and how many instructions lay within. What spins says `pause` in each turn: when the same one comes twice
 * within a few instructions, what lies between them was waiting and is taken back. A halted CPU executes nothing.
 *
 * Declared here is what of QEMU's plugin interface (version 1) is used; Debian ships no header for it. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef uint64_t plugin_id;
enum { CALLBACK_NO_REGISTERS = 0, INLINE_ADD = 0, REGIONS = 256, MARK_BYTES = 8, SPIN_MAX = 64 };
__attribute__((visibility("default"))) int qemu_plugin_version = 1;
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned, void *), int, void *);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int, void *, uint64_t);
void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);

static void *pausing;
static uint64_t executed, paused, begun[REGIONS], entered[REGIONS], within[REGIONS];

static void begin(unsigned cpu, void *region)
{
    (void)cpu;
    begun[(uintptr_t)region] = executed;
    pausing = NULL;
}

static void end(unsigned cpu, void *region)
{
    (void)cpu;
    /* The mark at the end has not been counted yet, the one at the beginning was counted after `begin`. */
    within[(uintptr_t)region] += executed - begun[(uintptr_t)region] - 1;
    entered[(uintptr_t)region]++;
    pausing = NULL;
}

static void spin(unsigned cpu, void *where)
{
    (void)cpu;
    if (where == pausing && executed - paused <= SPIN_MAX)
        executed = paused;
    pausing = where;
    paused = executed;
}

static int is_pause(struct qemu_plugin_insn *insn)
{
    return qemu_plugin_insn_size(insn) == 2 && !memcmp(qemu_plugin_insn_data(insn), "\xf3\x90", 2);
}

static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    size_t count = qemu_plugin_tb_n_insns(block), index;
    for (index = 0; index < count; index++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, index);
        const uint8_t *bytes = qemu_plugin_insn_data(insn);
        if (qemu_plugin_insn_size(insn) == MARK_BYTES && !memcmp(bytes, "\x0f\x1f\x84\x00", 4) && bytes[5] == 'M' && bytes[6] == 'B')
            qemu_plugin_register_vcpu_insn_exec_cb(insn, bytes[7] ? begin : end, CALLBACK_NO_REGISTERS, (void *)(uintptr_t)bytes[4]);
        if (is_pause(insn))
            qemu_plugin_register_vcpu_insn_exec_cb(insn, spin, CALLBACK_NO_REGISTERS, (void *)(uintptr_t)qemu_plugin_insn_vaddr(insn));
        else
            qemu_plugin_register_vcpu_insn_exec_inline(insn, INLINE_ADD, &executed, 1);
    }
}

static void report(plugin_id id, void *nothing)
{
    (void)id;
    (void)nothing;
    for (int region = 0; region < REGIONS; region++)
        if (entered[region])
            fprintf(stderr, "plugin: region %d entered %" PRIu64 " instructions %" PRIu64 "\n", region, entered[region], within[region]);
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int count, char **arguments)
{
    (void)info;
    (void)count;
    (void)arguments;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, report, NULL);
    return 0;
}
