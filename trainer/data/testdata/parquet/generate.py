"""Makes the Parquet files here, as pyarrow writes them: python generate.py FOLDER (pyarrow 22 or so)."""
import pyarrow as pa, pyarrow.parquet as pq, sys
d=sys.argv[1]
rows=[{"messages":[{"role":"user","content":f"What is {i} plus {i}?"},{"role":"assistant","content":f"It is {2*i}."}],"source":"sums"} for i in range(5)]
rows.append({"messages":[{"role":"user","content":"Say ü"},{"role":"assistant","content":"ü"}],"source":None})
t=pa.Table.from_pylist(rows, schema=pa.schema([("source",pa.string()),("messages",pa.list_(pa.struct([("content",pa.string()),("role",pa.string())])))]))
pq.write_table(t, d+"/messages.parquet", compression="zstd", row_group_size=4)
rows=[{"instruction":"Add.","input":"1 2","output":"3","n":1},{"instruction":"Sing.","input":None,"output":"La.","n":2}]
pq.write_table(pa.Table.from_pylist(rows), d+"/alpaca.parquet", compression="snappy")
