// Rows of an embedding table. Grid: (columns, rows).
#include "view.cuh"

struct EmbedArgs {
  View dst, table;
  const int* ids;
  float scale;
  int add;
};
// An id outside the table, which the caller should have refused, gives NaN.
extern "C" __global__ void embed(EmbedArgs p) {
  begin();
  EACH(p.dst, i, j) {
    int id = p.ids[i];
    float x = id >= 0 && id < p.table.rows ? p.scale * get(p.table, id, j) : NAN_F32;
    if (p.add) x += get(p.dst, i, j);
    put(p.dst, i, j, x);
  }
}
