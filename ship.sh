bash /work/scratch/final/steps3.sh weighted runs/20261123-012328-cnn-s31-0c3b runs/20261123-012328-cnn-s31-0c3b runs/20261123-012328-cnn-s32-7629
